// The lecture's network in JavaScript. It trains, and prints what it computed, a line of JSON a step. Run and judge it:
//   node scripts/examples/languages/two_layer.mjs | python scripts/compare.py --numbers -
// With the word `batch` it trains five samples through 3-4-2.

const sigma = (z) => 1 / (1 + Math.exp(-z));
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const transposed = (A) => A[0].map((_, j) => A.map((row) => row[j]));
const times = (A, B) => A.map((row) => transposed(B).map((column) => sum(row.map((a, i) => a * column[i]))));
const each = (A, f) => A.map((row, i) => row.map((a, j) => f(a, i, j)));
const sumOfRows = (A) => transposed(A).map(sum);

function step({ W_h, b_h, W_o, b_o, x, y, lr }) {
  const z_h = each(times(x, transposed(W_h)), (z, n, j) => z + b_h[j]); // (N, n_hidden)
  const h = each(z_h, sigma); // (N, n_hidden)
  const z_o = each(times(h, transposed(W_o)), (z, n, k) => z + b_o[k]); // (N, n_out)
  const o = z_o; // (N, n_out)
  const loss = sum(each(o, (o, n, k) => (y[n][k] - o) ** 2).map(sum)) / 2; // ()

  const delta_o = each(o, (o, n, k) => o - y[n][k]); // (N, n_out)
  const delta_h = each(times(delta_o, W_o), (sentBack, n, j) => sentBack * h[n][j] * (1 - h[n][j])); // (N, n_hidden)
  const grad_W_o = times(transposed(delta_o), h); // (n_out, n_hidden)
  const grad_b_o = sumOfRows(delta_o); // (n_out,)
  const grad_W_h = times(transposed(delta_h), x); // (n_hidden, n_in)
  const grad_b_h = sumOfRows(delta_h); // (n_hidden,)

  const new_W_o = each(W_o, (w, k, j) => w - lr * grad_W_o[k][j]); // (n_out, n_hidden)
  const new_b_o = b_o.map((b, k) => b - lr * grad_b_o[k]); // (n_out,)
  const new_W_h = each(W_h, (w, j, i) => w - lr * grad_W_h[j][i]); // (n_hidden, n_in)
  const new_b_h = b_h.map((b, j) => b - lr * grad_b_h[j]); // (n_hidden,)
  return {
    z_h, h, z_o, o, loss, delta_o, delta_h, grad_W_o, grad_b_o, grad_W_h, grad_b_h, new_W_o, new_b_o, new_W_h, new_b_h,
  };
}

const matrix = (rows, columns, f) => [...Array(rows)].map((_, i) => [...Array(columns)].map((_, j) => f(i, j)));
const [N, n_in, n_hidden, n_out] = process.argv.includes("batch") ? [5, 3, 4, 2] : [1, 2, 2, 2];
const problem = {
  x: matrix(N, n_in, (n, i) => Math.sin(3 * n + i + 1)),
  y: matrix(N, n_out, (n, k) => Math.cos(n + 2 * k)),
  W_h: matrix(n_hidden, n_in, (j, i) => Math.sin(5 * j + 2 * i + 1)),
  b_h: matrix(1, n_hidden, (_, j) => 0.1 * j)[0],
  W_o: matrix(n_out, n_hidden, (k, j) => Math.cos(j + 3 * k)),
  b_o: matrix(1, n_out, () => 0)[0],
  lr: 0.1,
  loss: "half_sum",
  hidden_activation: "sigmoid",
};
console.log(JSON.stringify({ problem }));

let parameters = problem;
for (let number = 1; number <= 20; number++) {
  const got = step({ ...problem, ...parameters });
  console.log(JSON.stringify({ step: number, ...got }));
  parameters = { W_h: got.new_W_h, b_h: got.new_b_h, W_o: got.new_W_o, b_o: got.new_b_o };
}
