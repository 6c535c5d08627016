"""The version of this distribution, without asking the package metadata at start-up."""

VERSION = "0.2.0"
