// Numbers and indices as text, and numbers as typed.

// Four digits; small ones with an exponent. The minus sign is one, not a hyphen. Whole numbers have no decimals, unless
// they stand among others.
export function shortText(x, among = false) {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  let text;
  if (Number.isInteger(x) && size < 1e6 && !among) text = String(size);
  else if (size >= 1e-3 && size < 1e5) text = size.toFixed(Math.max(0, 3 - Math.max(0, Math.floor(Math.log10(size)))));
  else text = size.toExponential(1).replace("-", "−").replace("+", "");
  return (x < 0 ? "−" : "") + text;
}

// Six digits, as t.why() prints them.
export function longText(x) {
  if (!Number.isFinite(x) || x === 0) return shortText(x);
  const text = Math.abs(x) < 1e-4 ? x.toExponential(5).replace(/\.?0*e/, "e") : String(Number(x.toPrecision(6)));
  return text.replaceAll("-", "−").replace("e+", "e");
}

// A factor in a product: in brackets where it has a sign.
export function factorText(x) {
  return x < 0 ? `(${longText(x)})` : longText(x);
}

export function cellName(name, index) {
  return index.length ? `${name}[${index.join(",")}]` : name;
}

// The number that somebody typed, with as many digits as were typed; null where it is none.
export function typedNumber(text) {
  const plain = text.trim().replaceAll("−", "-").replace(/^\+/, "").replace(/^(-?\d*),(\d+)$/, "$1.$2");
  if (/^-?(inf|infinity|∞)$/i.test(plain)) return { number: plain.startsWith("-") ? -Infinity : Infinity, unit: 0 };
  const fraction = /^(-?\d*\.?\d+|-?\d+\.)\/(\d*\.?\d+)$/.exec(plain);
  if (fraction) return { number: Number(fraction[1]) / Number(fraction[2]), unit: 0 };
  const match = /^-?(\d+\.?(\d*)|\.(\d+))(?:e(-?\d+))?$/i.exec(plain);
  if (!match) return null;
  const decimals = (match[2] ?? match[3] ?? "").length;
  return { number: Number(plain), unit: 10 ** (Number(match[4] ?? 0) - decimals) };
}
