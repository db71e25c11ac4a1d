/* A softmax classifier of three layers, trained with momentum, in C. It prints what it computed, a line of JSON a step.
 * Build, run and judge it:
 *   cc -O2 -o net scripts/examples/languages/classifier.c -lm && ./net | python scripts/compare.py --numbers - */
#include <math.h>
#include <stdio.h>
#include <string.h>
#ifndef REAL
#define REAL double
#endif
#define N 6
#define L 3
#define MOST 6
#define EACH(i, count) for (int i = 0; i < count; i++)
#define LAYERS(l) for (int l = 1; l <= L; l++)

typedef REAL Matrix[MOST][MOST];
static const int size[L + 1] = {4, 5, 4, 3}, labels[N] = {0, 2, 1, 1, 0, 2};
static Matrix W[L + 1], b[L + 1], z[L + 1], a[L + 1], delta[L + 1], grad_W[L + 1], grad_b[L + 1]; /* by layer; a[0] is x */
static Matrix velocity_W[L + 1], velocity_b[L + 1];                                                /* a bias is row 0 */
static REAL loss, lr = 0.1, momentum = 0.9;

static REAL sigma(int l, REAL z) { return l == 1 ? tanh(z) : z > 0 ? z : 0; }
static REAL sigma_prime(int l, REAL z) { return l == 1 ? 1 - tanh(z) * tanh(z) : z > 0; }

static void forward(void) {
    LAYERS(l) EACH(n, N) EACH(j, size[l]) {
        z[l][n][j] = b[l][0][j];
        EACH(i, size[l - 1]) z[l][n][j] += W[l][j][i] * a[l - 1][n][i];
        if (l < L) a[l][n][j] = sigma(l, z[l][n][j]);
    }
    loss = 0;
    EACH(n, N) {
        REAL largest = z[L][n][0], total = 0; /* exp(z) is shifted by the largest z */
        EACH(k, size[L]) largest = fmax(largest, z[L][n][k]);
        EACH(k, size[L]) total += exp(z[L][n][k] - largest);
        EACH(k, size[L]) a[L][n][k] = exp(z[L][n][k] - largest) / total;
        loss -= (z[L][n][labels[n]] - largest - log(total)) / N;
    }
}

static void backward(void) {
    EACH(n, N) EACH(k, size[L]) delta[L][n][k] = (a[L][n][k] - (labels[n] == k)) / N;
    for (int l = L - 1; l > 0; l--) EACH(n, N) EACH(j, size[l]) {
        REAL sent_back = 0;
        EACH(k, size[l + 1]) sent_back += delta[l + 1][n][k] * W[l + 1][k][j];
        delta[l][n][j] = sent_back * sigma_prime(l, z[l][n][j]);
    }
    memset(grad_W, 0, sizeof grad_W), memset(grad_b, 0, sizeof grad_b);
    LAYERS(l) EACH(n, N) EACH(j, size[l]) {
        grad_b[l][0][j] += delta[l][n][j];
        EACH(i, size[l - 1]) grad_W[l][j][i] += delta[l][n][j] * a[l - 1][n][i];
    }
}

static void update(Matrix *p, Matrix *velocity, Matrix *gradient) {
    LAYERS(l) EACH(j, MOST) EACH(i, MOST) {
        velocity[l][j][i] = momentum * velocity[l][j][i] + gradient[l][j][i];
        p[l][j][i] -= lr * velocity[l][j][i];
    }
}

static void print_one(const char *name, REAL of[][MOST], int rows, int columns) { /* rows 0: a plain list */
    printf("%s: %s", name, rows ? "[" : "");
    EACH(i, (rows ? rows : 1)) EACH(j, columns)
        printf("%s%.17g%s", j ? ", " : i ? ", [" : "[", (double)of[i][j], j == columns - 1 ? "]" : "");
    printf("%s", rows ? "]" : "");
}

static void print(const char *name, Matrix *of, char kind) { /* of each layer; kind W, b, or n: a row a sample */
    LAYERS(l) {
        printf(", \"%s%d", name, l);
        print_one("\"", of[l], kind == 'W' ? size[l] : kind == 'b' ? 0 : N, size[kind == 'W' ? l - 1 : l]);
    }
}

int main(void) {
    EACH(n, N) EACH(i, size[0]) a[0][n][i] = sin(3 * n + i + 1);
    LAYERS(l) EACH(j, size[l]) EACH(i, size[l - 1]) W[l][j][i] = sin(5 * j + 2 * i + l), b[l][0][j] = 0.1 * j;
    printf("{\"problem\": {\"activations\": \"tanh,relu,softmax\", \"loss\": \"cross_entropy\", ");
    printf("\"dtype\": \"%s\", \"lr\": %.17g, ", sizeof(REAL) == 4 ? "float32" : "float64", (double)lr);
    printf("\"momentum\": %.17g, \"y\": ", (double)momentum);
    EACH(n, N) printf("%s%d", n ? ", " : "[", labels[n]);
    print_one("], \"x\"", a[0], N, size[0]), print("W", W, 'W'), print("b", b, 'b'), printf("}}\n");
    EACH(step, 20) {
        forward(), backward(), update(W, velocity_W, grad_W), update(b, velocity_b, grad_b);
        printf("{\"step\": %d, \"loss\": %.17g", step + 1, (double)loss);
        print("z", z, 'n'), print("a", a, 'n'), print("delta", delta, 'n');
        print("grad_W", grad_W, 'W'), print("new_W", W, 'W'), print("new_velocity_W", velocity_W, 'W');
        print("grad_b", grad_b, 'b'), print("new_b", b, 'b'), print("new_velocity_b", velocity_b, 'b'), printf("}\n");
    }
}
