"""bfloat16 in training: where the processor has it, and nowhere else."""

import torch
from processor import has_bf16

from siamedge.training.networks import autocast


def test_a_processor_has_it_or_not_as_linux_says() -> None:
    assert autocast.has_bf16() == has_bf16()


def test_products_are_computed_in_the_type_that_the_processor_has() -> None:
    x = torch.eye(16)
    with autocast.autocast():
        product = x @ (x * (1 + 2**-10))
    assert product.dtype == (torch.bfloat16 if has_bf16() else torch.float32)
    assert product[0, 0].item() == (1.0 if has_bf16() else 1 + 2**-10)
