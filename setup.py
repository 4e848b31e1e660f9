"""What setup.cfg cannot say: packages that are found, and beside them two that are data and lie elsewhere."""

from setuptools import find_packages, setup

ROOTS = ("tinytorch", "gpt", "lora")
found = find_packages(include=[pattern for root in ROOTS for pattern in (root, f"{root}.*")])
# `lora` finds them inside itself once installed: see package_dir in setup.cfg.
setup(packages=[*found, "lora.parrot_data", "lora.tiny_llama"])
