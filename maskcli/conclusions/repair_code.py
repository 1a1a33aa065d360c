"""The code of repairs: classes to paste, with the parts that depend on the model in braces."""

from __future__ import annotations

ZERO_PADDED = """class ZeroPadded(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None:
            return x
        mask = keras.ops.reshape(mask, (*keras.ops.shape(mask), *[1] * (len(x.shape) - len(mask.shape))))
        return keras.ops.where(mask, x, 0.0)"""
MASK_TIMESTEPS = """class {type}(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x):
        return x

    def compute_mask(self, x, mask=None):
        return {mask}"""
KEEP_MASK = """class {name}(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, mask=None):
        return {form}"""
SUBCLASS = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return {result}"""
KERNEL = "(self.kernel_size[0] - 1) * self.dilation_rate[0]"
POOL = "self.pool_size[0] - 1"
STRIDED = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        first = {window} if self.padding == "valid" else 0
        return None if mask is None else mask[:, first :: self.strides[0]]"""
WHOLE_WINDOWS = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        last = {window} if self.padding == "valid" else 0
        if mask is not None and last:
            mask = keras.ops.logical_and(mask[:, :-last], mask[:, last:])
        return None if mask is None else mask[:, :: self.strides[0]]"""
EMPTY_WINDOWS = """
        is_open = super().call(keras.ops.cast(spread, x.dtype)) > 0
        pooled = keras.ops.where(is_open, pooled, 0.0)"""
SHARES = """
        shares = super().call(keras.ops.cast(spread, x.dtype))
        pooled = pooled / keras.ops.where(shares > 0, shares, 1.0)"""
WINDOWS = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None:
            return super().call(x)
        spread = mask[..., None]
        pooled = super().call(keras.ops.where(spread, x, {value})){shares}
        return pooled

    def compute_mask(self, inputs, mask=None):
        first = self.pool_size[0] - 1 if self.padding == "valid" else 0
        return None if mask is None else mask[:, first :: self.strides[0]]"""
GROUPS = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None:
            return super().call(x)
        ops = keras.ops
        size = x.shape[-1] // self.groups
        groups = ops.reshape(x, (-1, ops.shape(x)[1], self.groups, size))
        weights = ops.cast(mask, x.dtype)[:, :, None, None] * ops.ones_like(groups)
        count = ops.maximum(ops.sum(weights, axis=(1, 3), keepdims=True), 1)
        mean = ops.sum(weights * groups, axis=(1, 3), keepdims=True) / count
        variance = ops.sum(weights * ops.square(groups - mean), axis=(1, 3), keepdims=True) / count
        x = ops.reshape((groups - mean) * ops.rsqrt(variance + self.epsilon), ops.shape(x))
        x = x * self.gamma if self.scale else x
        return x + self.beta if self.center else x"""
MATRIX = """class Masked{type}({base}):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None:
            return super().call(x)
        ops = keras.ops
        weights = ops.cast(mask, x.dtype)[:, :, None] * ops.ones_like(x)
        count = ops.maximum(ops.sum(weights, axis=(1, 2), keepdims=True), 1)
        mean = ops.sum(weights * x, axis=(1, 2), keepdims=True) / count
        variance = ops.sum(weights * ops.square(x - mean), axis=(1, 2), keepdims=True) / count
        x = (x - mean) * ops.rsqrt(variance + self.epsilon)
        x = x * self.gamma if self.scale else x
        return x + self.beta if self.center else x"""
COPIED = """class Copied(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x):
        return keras.ops.copy(x)"""
JOIN_MASKS = """class Masked{type}({base}):
    def compute_mask(self, inputs, mask=None):
        masks = [item for item in mask or [] if item is not None]
        joined = masks[0] if masks else None
        for item in masks[1:]:
            joined = keras.ops.logical_and(joined, item)
        return joined"""
POOLING = """class {name}(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
{body}

    def compute_mask(self, inputs, mask=None):
        return {mask}"""
VARIANCE = ["spread = keras.ops.ones_like(x[..., :1], dtype=bool) if mask is None else mask[..., None]",
            "counts = keras.ops.maximum(keras.ops.sum(keras.ops.cast(spread, x.dtype), axis={axis}, keepdims=True), 1)",
            "mean = keras.ops.sum(keras.ops.where(spread, x, 0.0), axis={axis}, keepdims=True) / counts",
            "squares = keras.ops.where(spread, keras.ops.square(x - mean), 0.0)",
            "variance = keras.ops.sum(squares, axis={axis}) / keras.ops.squeeze(counts, {axis})"]  # fmt: skip
BODIES = {
    "max": ("MaskedMax", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, -1e9)",
                          "return keras.ops.max(x, axis={axis})"]),
    "min": ("MaskedMin", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, 1e9)",
                          "return keras.ops.min(x, axis={axis})"]),
    "mean": ("MaskedMean", ["if mask is None:", "    return keras.ops.mean(x, axis={axis})",
                            "counts = keras.ops.sum(keras.ops.cast(mask, x.dtype), axis={axis})[..., None]",
                            "x = keras.ops.where(mask[..., None], x, 0.0)",
                            "return keras.ops.sum(x, axis={axis}) / keras.ops.maximum(counts, 1)"]),
    "sum": ("MaskedSum", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, 0.0)",
                          "return keras.ops.sum(x, axis={axis})"]),
    "logsumexp": ("MaskedLogSumExp", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, -1e9)",
                                      "return keras.ops.logsumexp(x, axis={axis})"]),
    "prod": ("MaskedProduct", ["if mask is not None:", "    x = keras.ops.where(mask[..., None], x, 1.0)",
                               "return keras.ops.prod(x, axis={axis})"]),
    "var": ("MaskedVariance", [*VARIANCE, "return variance"]),
    "std": ("MaskedStd", [*VARIANCE, "return keras.ops.sqrt(variance)"]),
    "last": ("LastValid", ["positions = keras.ops.arange(keras.ops.shape(x)[1])",
                           "last = keras.ops.max(keras.ops.where(mask, positions, 0), axis=1)",
                           "return keras.ops.take_along_axis(x, last[:, None, None], axis=1)[:, 0]"]),
    "first": ("FirstValid", ['first = keras.ops.argmax(keras.ops.cast(mask, "int32"), axis=1)',
                             "return keras.ops.take_along_axis(x, first[:, None, None], axis=1)[:, 0]"]),
}  # fmt: skip
FLIPPED = """class Flipped(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x):
        return keras.ops.flip(x, axis=1)"""
MASK_SCORES = """class MaskScores(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, scores, mask=None):
        if mask is None:
            return scores
        return keras.ops.where({mask}, scores, -1e9)"""
WITH_MASK = """class WithMask(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, mask=None):
        return keras.ops.not_equal(inputs[1], {value})


x = WithMask()([x, ids])"""
