"""Write nbs/pictures/evidence.gif, the home page's moving picture: a margin's evidence, position by position,
until it is the margin; and card.png, which stands beside a link to the site where people share one.

Usage: python tools/moving_picture.py (from anywhere in the project; some seconds)
It is played once and then stands on its last picture, which is the whole answer.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from PIL import Image

from intr_nb import Aviary, explain, pretrained
from intr_nb.core.display import overlay

PLACE = Path(__file__).resolve().parent.parent / "nbs" / "pictures" / "evidence.gif"
CLAIM = """One query per class searches the image.
One vector scores what each brought back.
The reasons add up to the answer."""
STEPS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 70, 100, 150, 250, 400, 576]


def frame(image, values, order, n, names):
    "The picture with the first `n` positions' evidence on it, and their sum beside it."
    shown = torch.zeros_like(values).flatten()
    shown[order[:n]] = values.flatten()[order[:n]]
    limit, total = values.abs().max().item(), values.sum().item()
    shown = shown.view_as(values)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.4, 3.2), dpi=100, width_ratios=[1, 0.8], layout="constrained"
    )
    left.imshow(overlay(image, shown, limit, size=320))
    left.set(xticks=[], yticks=[], title=f"{n} of {values.numel()} positions")
    right.barh([0], [shown.sum().item()], color="#e08214", height=0.5)
    right.axvline(total, color="#333", ls="--")
    right.set(xlim=(min(0, 1.2 * total), 1.2 * total), ylim=(-1, 1), yticks=[], xlabel="logits")
    right.set_title(f"{names[0]}\nover {names[1]}", fontsize=8)
    right.text(total / 2, 0.45, f"sum {shown.sum():.2f}", ha="center", fontsize=12)
    right.text(total / 2, -0.6, f"the model's margin: {total:.2f}", ha="center", fontsize=10)
    figure.savefig(buffer := io.BytesIO(), format="png")
    plt.close(figure)
    return Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)


def card(image, values, names):
    "All of the evidence, 1200 x 630 pixels, with what this is about."
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6.3), dpi=100, width_ratios=[1, 1])
    figure.subplots_adjust(left=0.03, right=0.99, top=0.96, bottom=0.1, wspace=0.05)
    left.imshow(overlay(image, values, size=640))
    left.set(xticks=[], yticks=[])
    left.set_xlabel(f"{names[0]} over {names[1]}", fontsize=9)
    right.axis("off")
    right.text(0, 0.72, "intr_nb", fontsize=64, weight="bold", transform=right.transAxes)
    right.text(0, 0.58, "image classifiers that explain themselves", fontsize=18, transform=right.transAxes)
    right.text(0, 0.2, CLAIM, fontsize=17, color="#555", linespacing=1.6, transform=right.transAxes)
    figure.savefig(PLACE.with_name("card.png"))
    plt.close(figure)


def main():
    why = explain(pretrained("aviary16"), Aviary(100, seed=2).bird(4).image)
    margin = why.margin(a=4, b=5)
    values = margin.total
    order = values.flatten().abs().argsort(descending=True)
    frames = [frame(why.image, values, order, n, margin.names) for n in STEPS]
    PLACE.parent.mkdir(exist_ok=True)
    last = [220] * (len(frames) - 1) + [4000]
    frames[0].save(PLACE, save_all=True, append_images=frames[1:], duration=last, optimize=True)
    card(why.image, values, margin.names)
    gap = (values.sum() - (why.logits[4] - why.logits[5])).abs().item()
    two = values.flatten()[order[:2]].sum().item()
    print(f"the first two positions: {two:.2f} of {values.sum():.2f} logits")
    size = f"{PLACE.stat().st_size / 1e3:.0f} kB"
    print(f"{PLACE.name}: {size}, {len(frames)} pictures; sum and margin differ by {gap:.1e}")


if __name__ == "__main__":
    main()
