"""The loss over a page's steps, as the points of a small drawing."""

import math


def loss_curve(steps):
    """The loss of both sides as points of a drawing 560 wide and 140 high; logarithmic where it spans much."""
    losses = [
        [value if isinstance(value, float) else None for value in kept["loss"]] for kept in steps
    ]
    seen = [value for pair in losses for value in pair if value is not None]
    log = bool(seen) and min(seen) > 0 and max(seen) > 20 * min(seen)
    scale = math.log10 if log else float
    low, high = (scale(min(seen)), scale(max(seen))) if seen else (0.0, 1.0)
    span = high - low or 1.0
    first, last = steps[0]["step"], steps[-1]["step"]

    def point(kept, value):
        x = 560 * (kept["step"] - first) / (last - first or 1)
        return (
            [round(x, 1), round(140 - 130 * (scale(value) - low) / span, 1)]
            if value is not None
            else None
        )

    points = [
        [point(kept, value) for value in pair] for kept, pair in zip(steps, losses, strict=True)
    ]
    return {
        "manual": " ".join(f"{p[0]},{p[1]}" for p, _ in points if p),
        "torch": " ".join(f"{p[0]},{p[1]}" for _, p in points if p),
        "at": [p[1] or p[0] for p in points],
        "low": f"{min(seen):.3g}" if seen else "",
        "high": f"{max(seen):.3g}" if seen else "",
        "log": log,
        "first": first,
        "last": last,
    }
