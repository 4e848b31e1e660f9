from __future__ import annotations

import numpy as np

import tinytorch
from lora.model.llama import Llama
from lora.model.packing import packed_hidden_states


def test_a_packed_text_is_computed_as_if_alone(small_llama: Llama) -> None:
    ids = np.random.default_rng(0).integers(0, 400, (2, 20))
    texts = np.array([[1] * 5 + [2] * 8 + [3] * 4 + [0] * 3, [1] * 1 + [2] * 19])
    hidden = packed_hidden_states(small_llama, tinytorch.tensor(ids), tinytorch.tensor(texts)).detach().numpy()
    assert np.isfinite(hidden).all()
    for row in range(2):
        for number in range(1, texts[row].max() + 1):
            places = texts[row] == number
            alone = small_llama.hidden_states(ids[row][places][None]).detach().numpy()[0]
            np.testing.assert_allclose(hidden[row][places], alone, atol=1e-5)
