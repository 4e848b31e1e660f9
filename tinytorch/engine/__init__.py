"""The engine: Tensor, Function, the backward walk, and the runner that all work goes through.

It stands at the bottom and knows neither kernels nor operations. First reading: mode, tensor, function, walk, runner;
then saved, leaf and graph; views and hooks last.
"""

from . import runner as runner  # sets mode.run
