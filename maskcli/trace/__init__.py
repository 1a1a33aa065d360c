"""One recorded run of a model: its calls, their masks, its outputs."""
