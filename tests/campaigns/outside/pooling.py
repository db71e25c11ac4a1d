"""Images and signals in space: pooling, resampling, folding, convolutions of every kind."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.campaigns.outside.case import case, sizes
from tests.campaigns.outside.formulas import draw


def rows(random, *names):
    """Arrays (N, C, L)."""
    N, C, L = sizes(random, 3, least=3)
    return {name: random.normal(size=(N, C, L)) for name in names}


@case(smooth=False)
class max_pooling_with_overlap:
    """Windows of 3 at every place: one element may be the largest of several."""

    def inputs(random):
        N, L = sizes(random, 2, least=3, most=8)
        return draw(random, x=(N, L), w=(N, L - 2))

    def reference(x, w):
        return (F.max_pool1d(x, 3, 1) * w).sum()

    def hand(x, w):
        d_x = np.zeros_like(x)
        for t in range(w.shape[1]):
            first = t + x[:, t : t + 3].argmax(axis=1)  # (N,)
            d_x[np.arange(len(x)), first] += w[:, t]
        return {"x": d_x}


@case(smooth=False)
class global_max_pooling:
    def inputs(random):
        N, C, H, W = sizes(random, 4, most=4)
        return draw(random, x=(N, C, H, W), w=(N, C))

    def reference(x, w):
        return (F.adaptive_max_pool2d(x, 1)[:, :, 0, 0] * w).sum()

    def hand(x, w):
        flat = x.reshape(*w.shape, -1)
        d_x = np.zeros_like(flat)
        np.put_along_axis(d_x, flat.argmax(axis=2)[..., None], w[..., None], axis=2)
        return {"x": d_x.reshape(x.shape)}


@case()
class average_pooling:
    def inputs(random):
        N, C, h, w = sizes(random, 4, most=3)
        return draw(random, x=(N, C, 2 * h, 2 * w), w=(N, C, h, w))

    def reference(x, w):
        return (F.avg_pool2d(x, 2) ** 2 * w).sum()

    def hand(x, w):
        N, C, h, wide = w.shape
        y = x.reshape(N, C, h, 2, wide, 2).mean(axis=(3, 5))
        return {"x": (2 * w * y / 4).repeat(2, axis=2).repeat(2, axis=3), "w": y * y}


@case()
class adaptive_average_pooling:
    """Windows of uneven length that overlap."""

    def inputs(random):
        N, L, m = sizes(random, 3, most=7)
        return draw(random, x=(N, L), w=(N, m))

    def reference(x, w):
        return (F.adaptive_avg_pool1d(x, w.shape[1]) * w).sum()

    def hand(x, w):
        d_x, (L, m) = np.zeros_like(x), (x.shape[1], w.shape[1])
        for i in range(m):
            start, end = i * L // m, -(-(i + 1) * L // m)
            d_x[:, start:end] += w[:, i : i + 1] / (end - start)
        return {"x": d_x}


@case()
class global_average_pooling:
    def inputs(random):
        N, C, H, W, K = sizes(random, 5, most=4)
        return draw(random, x=(N, C, H, W), V=(K, C), w=(N, K))

    def reference(x, V, w):
        return (torch.tanh(x.mean((2, 3)) @ V.T) * w).sum()

    def hand(x, V, w):
        m = x.mean(axis=(2, 3))  # (N, C)
        d_z = w * (1 - np.tanh(m @ V.T) ** 2)  # (N, K)
        d_m = (d_z @ V / (x.shape[2] * x.shape[3]))[:, :, None, None]
        return {"x": d_m + np.zeros_like(x), "V": d_z.T @ m}


@case(but="zeroed tied integers tiny")
class power_mean_pooling:
    def inputs(random):
        N, L = sizes(random, 2, least=3)
        return draw(random, x=(N, 2 * L), w=(N, L))

    def reference(x, w):
        return (F.lp_pool1d(x[:, None], 2.0, 2)[:, 0] * w).sum()

    def hand(x, w):
        pairs = x.reshape(*w.shape, 2)
        length = np.sqrt((pairs**2).sum(axis=2, keepdims=True))
        return {"x": (w[..., None] * pairs / length).reshape(x.shape)}


@case()
class pixel_shuffle:
    def inputs(random):
        N, C, H, W = sizes(random, 4, most=3)
        return draw(random, x=(N, 4 * C, H, W), target=(N, C, 2 * H, 2 * W))

    def reference(x, target):
        return ((F.pixel_shuffle(x, 2) - target) ** 2).sum()

    def hand(x, target):
        N, C, H, W = x.shape
        y = x.reshape(N, C // 4, 2, 2, H, W).transpose(0, 1, 4, 2, 5, 3)
        d_y = 2 * (y - target.reshape(y.shape))
        return {"x": d_y.transpose(0, 1, 3, 5, 2, 4).reshape(x.shape)}


@case()
class nearest_upsampling:
    def inputs(random):
        N, C, H, W = sizes(random, 4, most=3)
        return draw(random, x=(N, C, H, W), w=(N, C, 3 * H, 3 * W))

    def reference(x, w):
        return (F.interpolate(x, scale_factor=3) * w).sum()

    def hand(x, w):
        N, C, H, W = x.shape
        return {"x": w.reshape(N, C, H, 3, W, 3).sum(axis=(3, 5))}


def interpolation(n, m, dtype):
    """The matrix (m, n) of linear interpolation with aligned ends."""
    M = np.zeros((m, n), dtype)
    for i in range(m):
        place = i * (n - 1) / (m - 1)
        left = min(int(place), n - 2)
        M[i, left], M[i, left + 1] = 1 - (place - left), place - left
    return M


@case()
class bilinear_interpolation:
    def inputs(random):
        H, W, h, w = sizes(random, 4)
        return draw(random, x=(H, W), w=(h, w))

    def reference(x, w):
        y = F.interpolate(x[None, None], w.shape, mode="bilinear", align_corners=True)
        return (y[0, 0] * w).sum()

    def hand(x, w):
        A = interpolation(x.shape[0], w.shape[0], x.dtype)
        B = interpolation(x.shape[1], w.shape[1], x.dtype)
        return {"x": A.T @ w @ B, "w": A @ x @ B.T}


@case(varied="x w")
class grid_sampling:
    """Bilinear, with the gradient of the places as well."""

    def inputs(random):
        H, W, n = sizes(random, 3)
        return draw(random, x=(H, W), w=n) | dict(grid=random.uniform(-0.95, 0.95, (n, 2)))

    def reference(x, w, grid):
        y = F.grid_sample(x[None, None], grid[None, :, None], align_corners=True)
        return (y[0, 0, :, 0] * w).sum()

    def hand(x, w, grid):
        H, W = x.shape
        across, down = (grid[:, 0] + 1) * (W - 1) / 2, (grid[:, 1] + 1) * (H - 1) / 2
        j, i = across.astype(int), down.astype(int)
        a, b = across - j.astype(x.dtype), down - i.astype(x.dtype)  # (n,)
        d_x = np.zeros_like(x)
        for di, u in ((0, 1 - b), (1, b)):
            for dj, v in ((0, 1 - a), (1, a)):
                np.add.at(d_x, (i + di, j + dj), w * u * v)
        along = (1 - b) * (x[i, j + 1] - x[i, j]) + b * (x[i + 1, j + 1] - x[i + 1, j])
        under = (1 - a) * (x[i + 1, j] - x[i, j]) + a * (x[i + 1, j + 1] - x[i, j + 1])
        return {
            "x": d_x,
            "grid": np.stack([w * along * (W - 1) / 2, w * under * (H - 1) / 2], axis=1),
        }


@case()
class unfolded_patches:
    """Every patch of 2 x 2, so that an inner pixel is in four."""

    def inputs(random):
        C, H, W = sizes(random, 3)
        return draw(random, x=(C, H, W), w=(C * 4, (H - 1) * (W - 1)))

    def reference(x, w):
        return (F.unfold(x[None], 2)[0] * w).sum()

    def hand(x, w):
        C, H, W = x.shape
        patches, d_x = w.reshape(C, 2, 2, H - 1, W - 1), np.zeros_like(x)
        for i in range(2):
            for j in range(2):
                d_x[:, i : H - 1 + i, j : W - 1 + j] += patches[:, i, j]
        return {"x": d_x}


@case()
class folded_frames:
    """Overlap-add of frames, a hop of one half."""

    def inputs(random):
        frames, hop = sizes(random, 2, most=4)
        return draw(random, x=(2 * hop, frames), w=hop * (frames + 1))

    def reference(x, w):
        size, frames = x.shape
        y = F.fold(x[None], (1, len(w)), (1, size), stride=(1, size // 2))
        return (y.flatten() ** 2 * w).sum()

    def hand(x, w):
        size, frames = x.shape
        y = np.zeros_like(w)
        spans = [slice(t * size // 2, t * size // 2 + size) for t in range(frames)]
        for t, span in enumerate(spans):
            y[span] += x[:, t]
        return {"x": np.stack([(2 * w * y)[span] for span in spans], axis=1), "w": y * y}


@case()
class transposed_convolution:
    def inputs(random):
        N, C, K, L, k = sizes(random, 5, most=4)
        return draw(random, x=(N, C, L), v=(C, K, k), w=(N, K, 2 * (L - 1) + k))

    def reference(x, v, w):
        return (F.conv_transpose1d(x, v, stride=2) * w).sum()

    def hand(x, v, w):
        L, k = x.shape[2], v.shape[2]
        d_x, d_v = np.zeros_like(x), np.zeros_like(v)
        for i in range(k):
            seen = w[:, :, i : i + 2 * L - 1 : 2]  # (N, K, L)
            d_x += np.einsum("ck,nkl->ncl", v[:, :, i], seen)
            d_v[:, :, i] = np.einsum("ncl,nkl->ck", x, seen)
        return {"x": d_x, "v": d_v}


@case()
class dilated_convolution:
    def inputs(random):
        N, C, K, k, L = sizes(random, 5, most=4)
        L = L + 2 * (k - 1)
        return draw(random, x=(N, C, L), v=(K, C, k), w=(N, K, L - 2 * (k - 1)))

    def reference(x, v, w):
        return (F.conv1d(x, v, dilation=2) * w).sum()

    def hand(x, v, w):
        m, d_x, d_v = w.shape[2], np.zeros_like(x), np.zeros_like(v)
        for i in range(v.shape[2]):
            span = slice(2 * i, 2 * i + m)
            d_v[:, :, i] = np.einsum("nkl,ncl->kc", w, x[:, :, span])
            d_x[:, :, span] += np.einsum("nkl,kc->ncl", w, v[:, :, i])
        return {"x": d_x, "v": d_v}


@case()
class grouped_convolution:
    def inputs(random):
        N, c, K, k, L = sizes(random, 5, most=4)
        L = L + k
        return draw(random, x=(N, 2 * c, L), v=(2 * K, c, k), w=(N, 2 * K, L - k + 1))

    def reference(x, v, w):
        return (F.conv1d(x, v, groups=2) * w).sum()

    def hand(x, v, w):
        N, _, L = x.shape
        x2, w2 = x.reshape(N, 2, -1, L), w.reshape(N, 2, -1, w.shape[2])
        v2 = v.reshape(2, -1, *v.shape[1:])  # (2, K, c, k)
        d_x, d_v, m = np.zeros_like(x2), np.zeros_like(v2), w.shape[2]
        for i in range(v.shape[2]):
            d_v[..., i] = np.einsum("ngkl,ngcl->gkc", w2, x2[..., i : i + m])
            d_x[..., i : i + m] += np.einsum("ngkl,gkc->ngcl", w2, v2[..., i])
        return {"x": d_x.reshape(x.shape), "v": d_v.reshape(v.shape)}


@case()
class depthwise_convolution:
    def inputs(random):
        N, C, H, W = sizes(random, 4, least=3, most=5)
        return draw(random, x=(N, C, H, W), v=(C, 1, 3, 3), w=(N, C, H, W))

    def reference(x, v, w):
        return (F.conv2d(x, v, padding=1, groups=x.shape[1]) * w).sum()

    def hand(x, v, w):
        H, W = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        d_p, d_v = np.zeros_like(padded), np.zeros_like(v)
        for i in range(3):
            for j in range(3):
                d_v[:, 0, i, j] = (padded[:, :, i : i + H, j : j + W] * w).sum(axis=(0, 2, 3))
                d_p[:, :, i : i + H, j : j + W] += w * v[:, 0, i, j][:, None, None]
        return {"x": d_p[:, :, 1:-1, 1:-1], "v": d_v}


@case()
class strided_convolution_of_images:
    def inputs(random):
        N, C, K, h, w = sizes(random, 5, most=3)
        shapes = dict(x=(N, C, 2 * h + 1, 2 * w + 1), v=(K, C, 3, 3), b=K)
        return draw(random, **shapes, target=(N, K, h, w))

    def reference(x, v, b, target):
        return F.mse_loss(F.conv2d(x, v, b, stride=2), target)

    def hand(x, v, b, target):
        h, w = (2 * size for size in target.shape[2:])
        places = [
            (i, j, slice(i, i + h, 2), slice(j, j + w, 2)) for i in (0, 1, 2) for j in (0, 1, 2)
        ]
        y = b[:, None, None] + np.zeros_like(target)
        for i, j, down, across in places:
            y += np.einsum("kc,nchw->nkhw", v[:, :, i, j], x[:, :, down, across])
        d_y = 2 * (y - target) / y.size  # (N, K, h, w)
        d_x, d_v = np.zeros_like(x), np.zeros_like(v)
        for i, j, down, across in places:
            d_x[:, :, down, across] += np.einsum("kc,nkhw->nchw", v[:, :, i, j], d_y)
            d_v[:, :, i, j] = np.einsum("nkhw,nchw->kc", d_y, x[:, :, down, across])
        return {"x": d_x, "v": d_v, "b": d_y.sum(axis=(0, 2, 3))}


@case()
class reflected_edges:
    def inputs(random):
        return rows(random, "x") | dict(k=np.array([0.25, 0.5, 0.25]))

    def reference(x, k):
        padded = F.pad(x, (1, 1), mode="reflect")
        y = F.conv1d(padded.flatten(0, 1)[:, None], k[None, None])
        return (y**2).sum()

    def hand(x, k):
        padded = np.concatenate([x[..., 1:2], x, x[..., -2:-1]], axis=2)
        y = k[0] * padded[..., :-2] + k[1] * padded[..., 1:-1] + k[2] * padded[..., 2:]
        d_p = np.zeros_like(padded)
        for i in range(3):
            d_p[..., i : i + x.shape[2]] += 2 * y * k[i]
        d_x = d_p[..., 1:-1].copy()
        d_x[..., 1] += d_p[..., 0]
        d_x[..., -2] += d_p[..., -1]
        return {"x": d_x}


@case(smooth=False)
class maxout:
    def inputs(random):
        N, n, m, k = sizes(random, 4, most=4)
        return draw(random, x=(N, n), W=(k, m, n), w=(N, m))

    def reference(x, W, w):
        return (torch.einsum("kmn,Nn->kNm", W, x).amax(0) * w).sum()

    def hand(x, W, w):
        z = x @ np.swapaxes(W, 1, 2)  # (k, N, m)
        first = z == z.max(axis=0)
        d_z = w * (first / first.sum(axis=0).astype(x.dtype)).astype(x.dtype)
        return {"x": (d_z @ W).sum(axis=0), "W": np.swapaxes(d_z, 1, 2) @ x}
