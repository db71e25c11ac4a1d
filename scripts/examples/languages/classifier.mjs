// A softmax classifier of three layers, trained with momentum, in JavaScript. It prints what it computed, a line of
// JSON a step. Run and judge it:
//   node scripts/examples/languages/classifier.mjs | python scripts/compare.py --numbers -

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const transposed = (A) => A[0].map((_, j) => A.map((row) => row[j]));
const times = (A, B) => A.map((row) => transposed(B).map((column) => sum(row.map((a, i) => a * column[i]))));
const each = (A, f) => A.map((row, i) => row.map((a, j) => f(a, i, j)));
const sumOfRows = (A) => transposed(A).map(sum);
const softmax = (row) => {
  const e = row.map((z) => Math.exp(z - Math.max(...row)));
  return e.map((one) => one / sum(e));
};

const L = 3;
const layers = [1, 2, 3];
const sigma = [, Math.tanh, (z) => Math.max(z, 0)];
const sigmaPrime = [, (z) => 1 - Math.tanh(z) ** 2, (z) => (z > 0 ? 1 : 0)];

function step(W, b, velocityW, velocityB, x, labels, lr, momentum) {
  const z = [], a = [x]; // (N, n_l) by layer
  for (const l of layers) {
    z[l] = each(times(a[l - 1], transposed(W[l])), (z, n, j) => z + b[l][j]);
    a[l] = l < L ? each(z[l], sigma[l]) : z[l].map(softmax);
  }
  const loss = sum(labels.map((label, n) => -Math.log(a[L][n][label]))) / x.length; // ()

  const delta = []; // (N, n_l) by layer
  delta[L] = each(a[L], (p, n, k) => (p - (labels[n] === k ? 1 : 0)) / x.length);
  for (let l = L - 1; l > 0; l--) {
    delta[l] = each(times(delta[l + 1], W[l + 1]), (sentBack, n, j) => sentBack * sigmaPrime[l](z[l][n][j]));
  }
  const got = { loss };
  for (const l of layers) {
    const gradW = times(transposed(delta[l]), a[l - 1]); // (n_l, n_(l-1))
    const gradB = sumOfRows(delta[l]); // (n_l,)
    velocityW[l] = each(gradW, (g, j, i) => momentum * velocityW[l][j][i] + g);
    velocityB[l] = gradB.map((g, j) => momentum * velocityB[l][j] + g);
    W[l] = each(W[l], (w, j, i) => w - lr * velocityW[l][j][i]);
    b[l] = b[l].map((w, j) => w - lr * velocityB[l][j]);
    const own = { z: z[l], a: a[l], delta: delta[l], grad_W: gradW, grad_b: gradB, new_W: W[l], new_b: b[l] };
    const all = { ...own, new_velocity_W: velocityW[l], new_velocity_b: velocityB[l] };
    for (const name in all) got[name + l] = all[name];
  }
  return got;
}

const matrix = (rows, columns, f) => [...Array(rows)].map((_, i) => [...Array(columns)].map((_, j) => f(i, j)));
const sizes = [4, 5, 4, 3];
const W = [], b = [], velocityW = [], velocityB = [];
for (const l of layers) {
  W[l] = matrix(sizes[l], sizes[l - 1], (j, i) => Math.sin(5 * j + 2 * i + l));
  b[l] = matrix(1, sizes[l], (_, j) => 0.1 * (j + 1))[0];
  velocityW[l] = each(W[l], () => 0);
  velocityB[l] = b[l].map(() => 0);
}
const x = matrix(6, sizes[0], (n, i) => Math.sin(3 * n + i + 1));
const y = [0, 2, 1, 1, 0, 2]; // the labels
const [lr, momentum] = [0.1, 0.9];
const settings = { activations: "tanh,relu,softmax", loss: "cross_entropy", lr, momentum };
const start = Object.fromEntries(layers.flatMap((l) => [["W" + l, W[l]], ["b" + l, b[l]]]));
console.log(JSON.stringify({ problem: { ...settings, x, y, ...start } }));
for (let number = 1; number <= 20; number++) {
  console.log(JSON.stringify({ step: number, ...step(W, b, velocityW, velocityB, x, y, lr, momentum) }));
}
