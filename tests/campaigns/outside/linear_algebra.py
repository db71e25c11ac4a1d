"""Matrices: determinants, inverses, factorisations, spectra, traces, programmes."""

import numpy as np
import torch

from tests.campaigns.outside.case import POSITIVE, REGULAR, SCALABLE, case, sizes


def regular(random, n):
    """A matrix far from a singular one."""
    return random.normal(size=(n, n)) + 4 * np.eye(n)


@case(kinds=POSITIVE)
class determinant:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=regular(random, n))

    def reference(A):
        return torch.linalg.det(A)

    def hand(A):
        return {"A": np.linalg.det(A) * np.linalg.inv(A).T}


@case(kinds=POSITIVE)
class log_determinant:
    inputs = determinant.inputs

    def reference(A):
        return torch.linalg.slogdet(A).logabsdet

    def hand(A):
        return {"A": np.linalg.inv(A).T}


@case(kinds=POSITIVE)
class inverse:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=regular(random, n), W=random.normal(size=(n, n)))

    def reference(A, W):
        return (torch.linalg.inv(A) * W).sum()

    def hand(A, W):
        B = np.linalg.inv(A)
        return {"A": -B.T @ W @ B.T, "W": B}


@case(kinds=POSITIVE)
class solve:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=regular(random, n), b=random.normal(size=n), w=random.normal(size=n))

    def reference(A, b, w):
        return torch.linalg.solve(A, b) @ w

    def hand(A, b, w):
        x = np.linalg.solve(A, b)  # (n,)
        d_b = np.linalg.solve(A.T, w)  # (n,)
        return {"A": -np.outer(d_b, x), "b": d_b}


@case(kinds=POSITIVE)
class triangular_solve:
    def inputs(random):
        n, m = sizes(random, 2)
        L, b = regular(random, n), random.normal(size=(n, m))
        return dict(L=L, b=b, w=random.normal(size=(n, m)))

    def reference(L, b, w):
        return (torch.linalg.solve_triangular(L, b, upper=False) * w).sum()

    def hand(L, b, w):
        x = np.linalg.solve(np.tril(L), b)  # (n, m)
        d_b = np.linalg.solve(np.tril(L).T, w)  # (n, m)
        return {"L": np.tril(-d_b @ x.T), "b": d_b}


@case(kinds=SCALABLE, varied="A")
class cholesky:
    def inputs(random):
        (n,) = sizes(random, 1)
        X = random.normal(size=(n, n + 2))
        return dict(A=X @ X.T + np.eye(n), W=random.normal(size=(n, n)))

    def reference(A, W):
        return (torch.linalg.cholesky(A) * W).sum()

    def hand(A, W):
        L = np.linalg.cholesky(A)
        B = np.linalg.inv(L)
        P = np.tril(L.T @ np.tril(W))
        P = P - np.diag(np.diag(P)) / 2
        S = B.T @ P @ B
        return {"A": (S + S.T) / 2, "W": L}


@case()
class gram_log_determinant:
    def inputs(random):
        n, m = sizes(random, 2)
        return dict(X=random.normal(size=(n, m)))

    def reference(X):
        S = X @ X.T + torch.eye(len(X), dtype=X.dtype)
        return 2 * torch.linalg.cholesky(S).diagonal().log().sum()

    def hand(X):
        S = X @ X.T + np.eye(len(X), dtype=X.dtype)
        return {"X": 2 * np.linalg.solve(S, X)}


@case(kinds=SCALABLE, varied="A")
class qr:
    def inputs(random):
        n, more = sizes(random, 2, most=4)
        m = n + more
        weights = dict(V=random.normal(size=(m, n)), W=random.normal(size=(n, n)))
        return dict(A=random.normal(size=(m, n)), **weights)

    def reference(A, V, W):
        Q, R = torch.linalg.qr(A)
        return (Q * V).sum() + (R * W).sum()

    def hand(A, V, W):
        Q, R = np.linalg.qr(A)
        M = R @ np.triu(W).T - V.T @ Q  # (n, n)
        symmetric = np.tril(M) + np.tril(M, -1).T
        return {"A": np.linalg.solve(R, (V + Q @ symmetric).T).T}


@case(kinds=SCALABLE, varied="A")
class symmetric_eigenvalues:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=random.normal(size=(n, n)), w=random.normal(size=n))

    def reference(A, w):
        return torch.linalg.eigvalsh(A + A.T) @ w

    def hand(A, w):
        _, V = np.linalg.eigh(A + A.T)
        return {"A": 2 * (V * w) @ V.T}


@case(kinds=SCALABLE, varied="A")
class leading_eigenvector:
    inputs = symmetric_eigenvalues.inputs

    def reference(A, w):
        v = torch.linalg.eigh(A + A.T).eigenvectors[:, -1]
        return (v @ w) ** 2

    def hand(A, w):
        e, V = np.linalg.eigh(A + A.T)
        v, rest = V[:, -1], V[:, :-1]
        d_v = 2 * (v @ w) * w  # (n,)
        u = rest @ ((rest.T @ d_v) / (e[-1] - e[:-1]))  # (n,)
        return {"A": np.outer(u, v) + np.outer(v, u)}


@case(kinds=SCALABLE)
class singular_values:
    def inputs(random):
        n, m = sizes(random, 2)
        return dict(A=random.normal(size=(n, m)), w=random.normal(size=min(n, m)))

    def reference(A, w):
        return torch.linalg.svdvals(A) @ w

    def hand(A, w):
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        return {"A": (U * w) @ Vt, "w": s}


@case(kinds=SCALABLE)
class nuclear_norm:
    def inputs(random):
        n, m = sizes(random, 2)
        return dict(A=random.normal(size=(n, m)))

    def reference(A):
        return torch.linalg.matrix_norm(A, "nuc")

    def hand(A):
        U, _, Vt = np.linalg.svd(A, full_matrices=False)
        return {"A": U @ Vt}


@case(kinds=SCALABLE)
class spectral_norm_squared:
    inputs = nuclear_norm.inputs

    def reference(A):
        return torch.linalg.matrix_norm(A, 2) ** 2

    def hand(A):
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        return {"A": 2 * s[0] * np.outer(U[:, 0], Vt[0])}


@case()
class matrix_power:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=random.normal(size=(n, n)), W=random.normal(size=(n, n)))

    def reference(A, W):
        return (torch.linalg.matrix_power(A, 3) * W).sum()

    def hand(A, W):
        T = A.T
        return {"A": W @ T @ T + T @ W @ T + T @ T @ W}


@case()
class kronecker:
    def inputs(random):
        m, n, p, q = sizes(random, 4, most=4)
        W = random.normal(size=(m * p, n * q))
        return dict(A=random.normal(size=(m, n)), B=random.normal(size=(p, q)), W=W)

    def reference(A, B, W):
        return (torch.kron(A, B) * W).sum()

    def hand(A, B, W):
        (m, n), (p, q) = A.shape, B.shape
        blocks = W.reshape(m, p, n, q)
        return {
            "A": np.einsum("ipjq,pq->ij", blocks, B),
            "B": np.einsum("ipjq,ij->pq", blocks, A),
        }


@case()
class trace_form:
    def inputs(random):
        m, n = sizes(random, 2)
        A, B = random.normal(size=(m, m)), random.normal(size=(n, n))
        return dict(A=A, B=B, X=random.normal(size=(m, n)))

    def reference(A, B, X):
        return torch.trace(A @ X @ B @ X.T)

    def hand(A, B, X):
        return {
            "A": X @ B.T @ X.T,
            "B": X.T @ A.T @ X,
            "X": A.T @ X @ B.T + A @ X @ B,
        }


@case()
class quadratic_form:
    def inputs(random):
        (n,) = sizes(random, 1)
        return dict(A=random.normal(size=(n, n)), x=random.normal(size=n))

    def reference(A, x):
        return x @ A @ x / 2

    def hand(A, x):
        return {"A": np.outer(x, x) / 2, "x": (A + A.T) @ x / 2}


@case(but="zeroed tied integers tiny")
class rayleigh_quotient:
    inputs = quadratic_form.inputs

    def reference(A, x):
        return (x @ A @ x) / (x @ x)

    def hand(A, x):
        r = x @ A @ x / (x @ x)
        return {"A": np.outer(x, x) / (x @ x), "x": ((A + A.T) @ x - 2 * r * x) / (x @ x)}


@case(kinds=SCALABLE)
class normal_equations:
    def inputs(random):
        n, more = sizes(random, 2)
        N = n + more
        X, y = random.normal(size=(N, n)), random.normal(size=N)
        return dict(X=X, y=y, w=random.normal(size=n))

    def reference(X, y, w):
        return torch.linalg.solve(X.T @ X, X.T @ y) @ w

    def hand(X, y, w):
        G = X.T @ X
        beta = np.linalg.solve(G, X.T @ y)  # (n,)
        z = np.linalg.solve(G, w)  # (n,)
        return {"X": np.outer(y - X @ beta, z) - np.outer(X @ z, beta), "y": X @ z}


@case(varied="X y")
class ridge:
    def inputs(random):
        n, N = sizes(random, 2)
        X, y, w = random.normal(size=(N, n)), random.normal(size=N), random.normal(size=n)
        return dict(X=X, y=y, w=w, penalty=np.array(random.uniform(0.5, 2)))

    def reference(X, y, w, penalty):
        G = X.T @ X + penalty * torch.eye(X.shape[1], dtype=X.dtype)
        return torch.linalg.solve(G, X.T @ y) @ w

    def hand(X, y, w, penalty):
        G = X.T @ X + penalty * np.eye(X.shape[1], dtype=X.dtype)
        beta = np.linalg.solve(G, X.T @ y)  # (n,)
        z = np.linalg.solve(G, w)  # (n,)
        return {
            "X": np.outer(y - X @ beta, z) - np.outer(X @ z, beta),
            "y": X @ z,
            "penalty": -z @ beta,
        }


@case(kinds=REGULAR)
class quadratic_programme:
    """min xᵀQx/2 + cᵀx where Ax = b, by its optimality conditions."""

    def inputs(random):
        m, more = sizes(random, 2, most=4)
        n = m + more
        X = random.normal(size=(n, n))
        Q, A = X @ X.T + np.eye(n), random.normal(size=(m, n))
        c, b, w = random.normal(size=n), random.normal(size=m), random.normal(size=n)
        return dict(Q=Q, A=A, c=c, b=b, w=w)

    def reference(Q, A, c, b, w):
        m = len(b)
        top = torch.cat([Q, A.T], 1)
        bottom = torch.cat([A, torch.zeros(m, m, dtype=A.dtype)], 1)
        return torch.linalg.solve(torch.cat([top, bottom]), torch.cat([-c, b]))[: len(c)] @ w

    def hand(Q, A, c, b, w):
        m, n = A.shape
        K = np.block([[Q, A.T], [A, np.zeros((m, m), A.dtype)]])  # (n+m, n+m)
        x, nu = np.split(np.linalg.solve(K, np.append(-c, b)), [n])
        s, t = np.split(np.linalg.solve(K.T, np.append(w, np.zeros(m, w.dtype))), [n])
        return {"Q": -np.outer(s, x), "A": -np.outer(t, x) - np.outer(nu, s), "c": -s, "b": t}


@case(but="zeroed tied integers tiny")
class frobenius_norm:
    inputs = nuclear_norm.inputs

    def reference(A):
        return torch.linalg.matrix_norm(A)

    def hand(A):
        return {"A": A / np.sqrt((A * A).sum())}


@case()
class bilinear_layer:
    def inputs(random):
        N, m, n, k = sizes(random, 4)
        x, y, W = (random.normal(size=size) for size in ((N, m), (N, n), (k, m, n)))
        return dict(x=x, y=y, W=W, target=random.normal(size=(N, k)))

    def reference(x, y, W, target):
        return ((torch.nn.functional.bilinear(x, y, W) - target) ** 2).mean()

    def hand(x, y, W, target):
        z = np.einsum("ni,kij,nj->nk", x, W, y)  # (N, k)
        d_z = 2 * (z - target) / z.size  # (N, k)
        return {
            "x": np.einsum("nk,kij,nj->ni", d_z, W, y),
            "y": np.einsum("nk,kij,ni->nj", d_z, W, x),
            "W": np.einsum("nk,ni,nj->kij", d_z, x, y),
        }
