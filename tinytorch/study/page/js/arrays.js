// Arrays of float64 with a shape: {shape, data}, the last dimension fastest, as in NumPy.

export function array(shape, data) {
  return { shape: [...shape], data: data instanceof Float64Array ? data : Float64Array.from(data ?? { length: sizeOf(shape) }, (x) => x ?? 0) };
}

export function filled(shape, number) {
  return { shape: [...shape], data: new Float64Array(sizeOf(shape)).fill(number) };
}

export function sizeOf(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

export function copyOf(a) {
  return { shape: [...a.shape], data: Float64Array.from(a.data) };
}

// How far apart neighbours along each dimension lie.
export function stridesOf(shape) {
  const strides = new Array(shape.length);
  let stride = 1;
  for (let dim = shape.length - 1; dim >= 0; dim--) {
    strides[dim] = stride;
    stride *= shape[dim];
  }
  return strides;
}

// The index of the element at a place in the data: 5 of (2, 3) is [1, 2].
export function indexOf(place, shape) {
  return stridesOf(shape).map((stride, dim) => Math.floor(place / stride) % shape[dim]);
}

export function placeOf(index, shape) {
  return stridesOf(shape).reduce((place, stride, dim) => place + stride * index[dim], 0);
}

export function map(a, f) {
  return { shape: [...a.shape], data: a.data.map(f) };
}

// The shape that arrays have when they are broadcast against each other.
export function broadcastShape(...shapes) {
  const ndim = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: ndim }, (_, dim) =>
    shapes.reduce((size, shape) => {
      const own = shape[shape.length - ndim + dim] ?? 1;
      return own === 1 ? size : own;
    }, 1));
}

// For each element of a larger shape, the place of the element that broadcasting takes for it.
export function broadcastPlaces(from, to) {
  const strides = stridesOf(from);
  const places = new Int32Array(sizeOf(to));
  const extra = to.length - from.length;
  for (let place = 0; place < places.length; place++) {
    const index = indexOf(place, to);
    let source = 0;
    for (let dim = 0; dim < from.length; dim++) {
      source += from[dim] === 1 ? 0 : strides[dim] * index[extra + dim];
    }
    places[place] = source;
  }
  return places;
}

export function expand(a, shape) {
  return pick(a, broadcastPlaces(a.shape, shape), shape);
}

// f of the elements of arrays, broadcast against each other.
export function zip(f, ...arrays) {
  const shape = broadcastShape(...arrays.map((a) => a.shape));
  const wide = arrays.map((a) => (sameShape(a.shape, shape) ? a : expand(a, shape)).data);
  const result = filled(shape, 0);
  for (let place = 0; place < result.data.length; place++) {
    result.data[place] = f(...wide.map((data) => data[place]));
  }
  return result;
}

export function add(a, b) {
  return zip((x, y) => x + y, a, b);
}

export function mul(a, b) {
  return zip((x, y) => x * y, a, b);
}

// The transpose of broadcasting: a gradient in the shape of what it belongs to.
export function sumTo(a, shape) {
  if (sameShape(a.shape, shape)) return a;
  return scatter(a, broadcastPlaces(shape, a.shape), shape);
}

// y[i] = a[places[i]]
export function pick(a, places, shape) {
  const result = filled(shape, 0);
  for (let i = 0; i < places.length; i++) result.data[i] = a.data[places[i]];
  return result;
}

// The transpose of pick: y[places[i]] += a[i]
export function scatter(a, places, shape) {
  const result = filled(shape, 0);
  for (let i = 0; i < places.length; i++) result.data[places[i]] += a.data[i];
  return result;
}

// For each element of x permuted, its place in x: dimension i of the result is dims[i] of x.
export function permutedPlaces(shape, dims) {
  const strides = stridesOf(shape);
  const to = dims.map((dim) => shape[dim]);
  return Array.from({ length: sizeOf(to) }, (_, place) =>
    indexOf(place, to).reduce((source, i, dim) => source + i * strides[dims[dim]], 0));
}

export function permute(a, dims) {
  return pick(a, permutedPlaces(a.shape, dims), dims.map((dim) => a.shape[dim]));
}

export function swapped(ndim, first, second) {
  const dims = Array.from({ length: ndim }, (_, dim) => dim);
  [dims[first], dims[second]] = [dims[second], dims[first]];
  return dims;
}

export function keptShape(shape, dims) {
  return shape.map((size, dim) => (dims.includes(dim) ? 1 : size));
}

export function sum(a, dims) {
  return sumTo(a, keptShape(a.shape, dims));
}

export function largest(a, dims) {
  const shape = keptShape(a.shape, dims);
  const places = broadcastPlaces(shape, a.shape);
  const result = filled(shape, -Infinity);
  places.forEach((to, from) => { result.data[to] = Math.max(result.data[to], a.data[from]); });
  return result;
}

export function reshape(a, shape) {
  return { shape: [...shape], data: a.data };
}

export function sameShape(a, b) {
  return a.length === b.length && a.every((size, dim) => size === b[dim]);
}

// (..., M, K) times (..., K, N), the dimensions in front broadcast.
export function matmul(a, b) {
  const [M, K] = a.shape.slice(-2);
  const N = b.shape.at(-1);
  const front = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const left = broadcastPlaces(a.shape.slice(0, -2), front);
  const right = broadcastPlaces(b.shape.slice(0, -2), front);
  const result = filled([...front, M, N], 0);
  for (let batch = 0; batch < left.length; batch++) {
    for (let m = 0; m < M; m++) {
      for (let n = 0; n < N; n++) {
        let total = 0;
        for (let k = 0; k < K; k++) {
          total += a.data[(left[batch] * M + m) * K + k] * b.data[(right[batch] * K + k) * N + n];
        }
        result.data[(batch * M + m) * N + n] = total;
      }
    }
  }
  return result;
}

export function transposed(a) {
  return permute(a, swapped(a.shape.length, a.shape.length - 2, a.shape.length - 1));
}

// The largest difference of two arrays; 0 where both are the same infinity.
export function difference(a, b) {
  return a.data.reduce((most, x, i) => (Object.is(x, b.data[i]) ? most : Math.max(most, Math.abs(x - b.data[i]))), 0);
}
