"""The product's images as users build them: from the same Dockerfiles, but without a registry.

    debian      a Debian with Python, bootstrapped from packages: the base image
    wheelhouse  the pinned wheels, downloaded once
    recipes     what each image is made of, and the digest that follows from it
    buildah     builds, and keeps its layers
    oci_archive an image as one file, for `Cluster.load_image`

Everything lies in a cache outside the checkout, under digests of what it was made from: a warm run
builds nothing, and a change of our own code only the last, thin layer.

    PYTHONPATH=tests python -m testkit.images            both, and where they lie
"""

from testkit.images.building import Image, ImagesUnavailable, built_image
from testkit.images.recipes import OPERATOR, RUNNER

__all__ = ["OPERATOR", "RUNNER", "Image", "ImagesUnavailable", "built_image"]
