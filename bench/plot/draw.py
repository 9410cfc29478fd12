"""Draw bars from the JSON on standard input: ``python draw.py FILE.svg``."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment
import matplotlib.pyplot as plt  # type: ignore[import-not-found] # ty: ignore[import-not-found] # likewise

# Each has enough contrast on white and on black: nobody knows where an image is shown.
INK, OURS, OTHERS = "#7a7a7a", "#2f81c7", "#9a9a9a"


def main() -> None:
    """Write the image."""
    data = json.load(sys.stdin)
    bars = sorted(data["bars"], key=lambda bar: bar["rate"])
    mpl.rcParams |= {
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "svg.fonttype": "none",  # texts stay texts
        "svg.hashsalt": "speed",  # the same figures give the same file
        "font.family": "sans-serif",
    }
    figure, panels = plt.subplots(1, 2, figsize=(10, 0.42 * len(bars) + 1), sharey=True)
    for panel, key, title in (
        (panels[0], "rate", f"records/s, {data['records']:,} at {data['latency_ms']} ms a request"),
        (panels[1], "cpu_us", "CPU µs a record"),
    ):
        drawn = panel.barh(
            [bar["name"] for bar in bars],
            [bar[key] for bar in bars],
            color=[OURS if bar["is_ours"] else OTHERS for bar in bars],
            height=0.7,
        )
        panel.bar_label(drawn, fmt="{:,.0f}", padding=4, color=INK)
        panel.set_title(title, loc="left", fontsize=11, color=INK)
        panel.margins(x=0.15)
        panel.xaxis.set_visible(False)
        panel.tick_params(left=False, colors=INK)
        panel.spines[:].set_visible(False)
    figure.tight_layout()
    figure.savefig(sys.argv[1], transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
