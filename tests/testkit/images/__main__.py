"""`make images`: build the images and say where they are."""

from __future__ import annotations

import sys

from testkit.images import OPERATOR, RUNNER, ImagesUnavailable, built_image


def main(names: list[str]) -> int:
    try:
        for recipe in (RUNNER, OPERATOR):
            if not names or recipe.name in names:
                image = built_image(recipe)
                size = image.archive.stat().st_size
                print(f"{image.name}  {size / 1e6:.0f} MB  {image.archive}")
    except ImagesUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
