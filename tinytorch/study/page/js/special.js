// The error function, which JavaScript does not have: to about 1e-15.

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

// Up to 2.5 by the series whose terms are all positive, erf x = 2/sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!;
// beyond by the continued fraction of 1 - erf x.
export function erf(x) {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size > 2.5) return Math.sign(x) * (1 - complement(size));
  let term = x;
  let total = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return TWO_OVER_ROOT_PI * Math.exp(-x * x) * total;
}

function complement(x) {
  let fraction = x;
  for (let n = 80; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

// The density of the normal distribution, and what lies below x.
export function density(x) {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

export function below(x) {
  return 0.5 * (1 + erf(x * Math.SQRT1_2));
}
