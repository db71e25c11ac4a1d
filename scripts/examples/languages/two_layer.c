/* The lecture's network in C. It trains, and prints what it computed, a line of JSON a step. Build, run and judge it:
 *   cc -O2 -o net scripts/examples/languages/two_layer.c -lm && ./net | python scripts/compare.py --numbers -
 * `./net batch` trains five samples through 3-4-2; built with -DREAL=float it computes in single precision. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#ifndef REAL
#define REAL double
#endif
#define MOST 5
#define EACH(i, count) for (int i = 0; i < count; i++)
#define PRINT(of, rows, columns) print(#of, of, rows, columns)

static int N, n_in, n_hidden, n_out;
static REAL x[MOST][MOST], y[MOST][MOST], W_h[MOST][MOST], W_o[MOST][MOST], h[MOST][MOST], o[MOST][MOST];
static REAL delta_o[MOST][MOST], delta_h[MOST][MOST], grad_W_o[MOST][MOST], grad_W_h[MOST][MOST];
static REAL b_h[1][MOST], b_o[1][MOST], grad_b_o[1][MOST], grad_b_h[1][MOST], loss, lr = 0.1;

static void forward(void) {
    EACH(n, N) EACH(j, n_hidden) {
        REAL z_h = b_h[0][j];
        EACH(i, n_in) z_h += W_h[j][i] * x[n][i];
        h[n][j] = 1 / (1 + exp(-z_h));
    }
    loss = 0;
    EACH(n, N) EACH(k, n_out) {
        o[n][k] = b_o[0][k];
        EACH(j, n_hidden) o[n][k] += W_o[k][j] * h[n][j];
        loss += (y[n][k] - o[n][k]) * (y[n][k] - o[n][k]) / 2;
    }
}

static void backward(void) {
    EACH(n, N) EACH(k, n_out) delta_o[n][k] = o[n][k] - y[n][k];
    EACH(n, N) EACH(j, n_hidden) {
        REAL sent_back = 0;
        EACH(k, n_out) sent_back += delta_o[n][k] * W_o[k][j];
        delta_h[n][j] = sent_back * h[n][j] * (1 - h[n][j]);
    }
    memset(grad_W_o, 0, sizeof grad_W_o), memset(grad_b_o, 0, sizeof grad_b_o);
    memset(grad_W_h, 0, sizeof grad_W_h), memset(grad_b_h, 0, sizeof grad_b_h);
    EACH(n, N) EACH(k, n_out) grad_b_o[0][k] += delta_o[n][k];
    EACH(n, N) EACH(j, n_hidden) grad_b_h[0][j] += delta_h[n][j];
    EACH(n, N) EACH(k, n_out) EACH(j, n_hidden) grad_W_o[k][j] += delta_o[n][k] * h[n][j];
    EACH(n, N) EACH(j, n_hidden) EACH(i, n_in) grad_W_h[j][i] += delta_h[n][j] * x[n][i];
}

static void update(void) {
    EACH(k, n_out) EACH(j, n_hidden) W_o[k][j] -= lr * grad_W_o[k][j];
    EACH(k, n_out) b_o[0][k] -= lr * grad_b_o[0][k];
    EACH(j, n_hidden) EACH(i, n_in) W_h[j][i] -= lr * grad_W_h[j][i];
    EACH(j, n_hidden) b_h[0][j] -= lr * grad_b_h[0][j];
}

static void print(const char *name, REAL of[][MOST], int rows, int columns) { /* rows 0: a plain list */
    printf(", \"%s\": %s", name, rows ? "[" : "");
    EACH(i, (rows ? rows : 1)) EACH(j, columns)
        printf("%s%.17g%s", j ? ", " : i ? ", [" : "[", (double)of[i][j], j == columns - 1 ? "]" : "");
    printf("%s", rows ? "]" : "");
}

int main(int count, char **words) {
    N = count > 1 ? 5 : 1, n_in = count > 1 ? 3 : 2, n_hidden = count > 1 ? 4 : 2, n_out = 2;
    EACH(n, N) EACH(i, n_in) x[n][i] = sin(3 * n + i + 1), y[n][i] = cos(n + 2 * i);
    EACH(j, n_hidden) EACH(i, n_in) W_h[j][i] = sin(5 * j + 2 * i + 1), W_o[i][j] = cos(j + 3 * i), b_h[0][j] = 0.1 * j;
    printf("{\"problem\": {\"loss\": \"half_sum\", \"hidden_activation\": \"sigmoid\", ");
    printf("\"dtype\": \"%s\", \"lr\": %.17g", sizeof(REAL) == 4 ? "float32" : "float64", (double)lr);
    PRINT(x, N, n_in), PRINT(y, N, n_out), PRINT(W_h, n_hidden, n_in), PRINT(b_h, 0, n_hidden);
    PRINT(W_o, n_out, n_hidden), PRINT(b_o, 0, n_out), printf("}}\n");
    EACH(step, 20) {
        forward(), backward(), update();
        printf("{\"step\": %d, \"loss\": %.17g", step + 1, (double)loss);
        PRINT(h, N, n_hidden), PRINT(o, N, n_out), PRINT(delta_o, N, n_out), PRINT(delta_h, N, n_hidden);
        PRINT(grad_W_o, n_out, n_hidden), PRINT(grad_b_o, 0, n_out);
        PRINT(grad_W_h, n_hidden, n_in), PRINT(grad_b_h, 0, n_hidden);
        print("new_W_o", W_o, n_out, n_hidden), print("new_b_o", b_o, 0, n_out);
        print("new_W_h", W_h, n_hidden, n_in), print("new_b_h", b_h, 0, n_hidden), printf("}\n");
    }
}
