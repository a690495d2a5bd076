"""What the tests of the library share: one thread, and the same random examples in every run."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("steady", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("steady")
