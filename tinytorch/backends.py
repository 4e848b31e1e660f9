"""Settings that scripts often make on torch.backends: accepted, but without effect on the CPU."""

from __future__ import annotations

from types import SimpleNamespace

cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False))
cudnn = SimpleNamespace(allow_tf32=False, benchmark=False, deterministic=True)
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
