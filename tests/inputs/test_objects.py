"""Data of other libraries in Python: tuples, datasets in batches, and tables, with their targets and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from keras import layers

import maskcli
from maskcli.errors import InputError, UsageError
from maskcli.inputs.objects import split_data

ROWS = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
PADDED = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 8, 9, 0]], "int32")
TARGETS = np.arange(12, dtype="float32").reshape(3, 4, 1)
WEIGHTS = np.linspace(0.5, 2.0, 12, dtype="float32").reshape(3, 4)
"""Keras takes no weight of a whole row together with a mask."""
SEGMENTS = np.array([[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], "int32")


def make_tagger() -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Dense(1)(layers.Embedding(10, 4, mask_zero=True)(tokens)))
    model.compile(loss="mse")
    return model


def make_classifier() -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Dense(1)(layers.GlobalAveragePooling1D()(embedded)))
    model.compile(loss="mse")
    return model


def make_pair_model() -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    segments = keras.Input((None,), dtype="int32", name="segment_ids")
    embedded = layers.Embedding(10, 4, mask_zero=True)(tokens) + layers.Embedding(2, 4)(segments)
    model = keras.Model([tokens, segments], layers.Dense(1)(embedded))
    model.compile(loss="mse")
    return model


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Two batches with weights."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        few = slice(2 * index, 2 * index + 2)
        return PADDED[few], TARGETS[few], WEIGHTS[few]


def make_dataset(*parts: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


def read_rows() -> Any:
    """Return a dataset of rows of different lengths, with a label each."""
    spec = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.float32))
    return tf.data.Dataset.from_generator(lambda: iter(zip(ROWS, [1.0, 0.0, 1.0], strict=True)), output_signature=spec)


# Tuples and datasets: the same losses as Keras computes from them


@pytest.mark.slow(share=0.4)
@pytest.mark.parametrize(
    "data",
    [
        (PADDED, TARGETS),
        (ROWS, TARGETS),
        (tf.constant(PADDED), tf.constant(TARGETS)),
        make_dataset(PADDED, TARGETS).batch(2),
        make_dataset(PADDED, TARGETS).batch(1, drop_remainder=True),
    ],
    ids=["arrays", "lists", "tensors", "batches", "fixed batches"],
)
def test_labels_become_targets(data: Any) -> None:
    model = make_tagger()
    expected = model.evaluate(PADDED, TARGETS, verbose=0)
    report = maskcli.loss(data, model=model)
    assert report.keras_evaluate == pytest.approx(expected)
    evidence = maskcli.check(data, model=model).examination.model
    assert evidence is not None
    assert [loss.reported for loss in evidence.losses] == [pytest.approx(expected)]
    assert report.inputs[0].padded_timesteps == 3


@pytest.mark.parametrize(
    "data",
    [(PADDED, TARGETS, WEIGHTS), make_dataset(PADDED, TARGETS, WEIGHTS).batch(2), Batches()],
    ids=["tuple", "batches", "PyDataset"],
)
def test_sample_weights_count(data: Any) -> None:
    model = make_tagger()
    expected = model.evaluate(PADDED, TARGETS, sample_weight=WEIGHTS, verbose=0)
    assert maskcli.loss(data, model=model).keras_evaluate == pytest.approx(expected)
    evidence = maskcli.check(data, model=model).examination.model
    assert evidence is not None
    assert [loss.reported for loss in evidence.losses] == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (read_rows(), "lengths"),
        (read_rows().ragged_batch(2), "lengths"),
        (read_rows().padded_batch(1), "value"),  # Batches of different lengths, each padded by itself.
        (read_rows().padded_batch(2), "value"),
    ],
    ids=["rows", "ragged", "one a batch", "padded"],
)
def test_dataset_of_rows(data: Any, source: str) -> None:
    report = maskcli.check(data, model=make_classifier())
    (tokens,) = report.inputs
    assert (tokens.shape, tokens.padded_timesteps, tokens.validity.source) == ((3, 4), 3, source)
    assert report.examination.model is not None
    assert report.examination.model.losses[0].reported is not None


def test_batches_of_other_padding_are_filled_with_the_value() -> None:
    batches = read_rows().padded_batch(1, padding_values=(-1, 0.0))
    parts = split_data(batches, value=-1)
    assert np.asarray(parts.inputs).tolist() == [[1, 2, 3, 4], [5, 6, -1, -1], [7, 8, 9, -1]]


@pytest.mark.parametrize(
    "data",
    [
        ((PADDED, SEGMENTS), TARGETS),
        ({"segment_ids": SEGMENTS, "tokens": PADDED}, TARGETS),
        make_dataset((PADDED, SEGMENTS), TARGETS).batch(2),
        make_dataset({"segment_ids": SEGMENTS, "tokens": PADDED}, TARGETS).batch(2),
    ],
    ids=["tuple", "dict", "dataset of tuples", "dataset of dicts"],
)
def test_several_inputs(data: Any) -> None:
    model = make_pair_model()
    expected = model.evaluate([PADDED, SEGMENTS], TARGETS, verbose=0)
    assert maskcli.loss(data, model=model).keras_evaluate == pytest.approx(expected)


class Pair(keras.Model):
    """Unpacks its inputs, and declares none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (layers.Embedding(10, 4, mask_zero=True) for _ in range(2))
        self.pool = layers.GlobalAveragePooling1D()

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        return self.pool(self.first(first)) - self.pool(self.second(second))


def test_list_of_inputs_in_their_order() -> None:
    data = [PADDED, SEGMENTS]
    report = maskcli.check(data, model=make_pair_model())
    assert [(item.name, item.shape) for item in report.examination.inputs] == [
        ("tokens", (3, 4)),
        ("segment_ids", (3, 4)),
    ]
    assert maskcli.loss((data, TARGETS), model=make_pair_model()).outputs[0].shape == (3, 4, 1)
    report = maskcli.check([PADDED, PADDED[:, :2]], model=Pair())
    assert [item.shape for item in report.examination.inputs] == [(3, 4), (3, 2)]
    assert report.leak is not None
    assert report.leak.verdict == "clean"


def test_list_of_rows_is_no_list_of_inputs() -> None:
    rows = [np.array([1, 2, 3, 4]), np.array([5, 6]), np.array([7, 8, 9])]
    assert len(maskcli.check(rows, model=make_tagger()).examination.inputs) == 1
    features = [np.ones((4, 3), "float32"), np.zeros((2, 3), "float32")]
    assert isinstance(split_data(features).inputs, list)
    assert isinstance(split_data([np.ones((4, 3)), np.ones((4, 3))]).inputs, list)
    assert isinstance(split_data([np.ones((2, 3), int), np.ones((2, 3), int)], model=make_tagger()).inputs, list)


def test_labels_without_a_loss_are_noted() -> None:
    model = make_tagger()
    model = keras.Model(model.input, model.output)
    report = maskcli.check((PADDED, TARGETS), model=model)
    assert report.notes[0].startswith("The targets of the data were not used: the model is not compiled with a loss")
    assert report.passed


def test_labels_that_are_also_an_argument() -> None:
    for options in ({"targets": TARGETS}, {"targets": "zeros"}, {"targets_field": "y"}):
        with pytest.raises(UsageError, match="targets either in the data"):
            maskcli.check((PADDED, TARGETS), model=make_tagger(), **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sample_weight either in the data"):
        maskcli.loss((PADDED, TARGETS, WEIGHTS), model=make_tagger(), class_weight={0: 1.0})


def test_tuple_of_rows_is_no_pair() -> None:
    assert maskcli.pad(([1, 2, 3], [4])).tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert maskcli.pad((np.array([1, 2, 3]), [4], [5])).lengths.tolist() == [3, 1, 1]
    assert maskcli.pad((ROWS, TARGETS)).lengths.tolist() == [4, 2, 3]
    assert maskcli.pad(read_rows()).lengths.tolist() == [4, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_dataset(PADDED).batch(2).repeat(), "repeats forever"),
        (lambda: make_dataset(PADDED).batch(2).take(0), "an empty dataset"),
        (lambda: make_dataset(tf.sparse.from_dense(PADDED)).batch(2), "SparseTensor"),
        (lambda: ([], TARGETS), "row|sequence"),
        (lambda: np.zeros((0, 4), "int32"), "at least one sequence"),
        (list, "at least one sequence"),
        (lambda: None, "received null"),
    ],
)
def test_no_data_is_an_error(make: Callable[[], Any], message: str) -> None:
    """A check whose data is missing must never pass."""
    with pytest.raises(InputError, match=message):
        maskcli.check(make(), model=make_tagger())


# Tables


def make_tables() -> Iterator[Any]:
    columns = {"tokens": ROWS, "label": ["a", "b", "c"]}
    for package, make in (
        ("pandas", lambda pandas: pandas.DataFrame(columns)),
        ("pandas", lambda pandas: pandas.DataFrame({"tokens": list(map(np.array, ROWS)), "label": [1.0, None, 2.0]})),
        ("pandas", lambda pandas: pandas.Series(ROWS)),
        ("polars", lambda polars: polars.DataFrame(columns)),
        ("polars", lambda polars: polars.LazyFrame(columns)),
        ("polars", lambda polars: polars.Series(ROWS)),
        ("datasets", lambda datasets: datasets.Dataset.from_dict(columns)),
        ("datasets", lambda datasets: datasets.Dataset.from_dict(columns).with_format("numpy")),
        ("datasets", lambda datasets: datasets.Dataset.from_dict(columns).to_iterable_dataset()),
    ):
        yield pytest.param(package, make, id=package)


@pytest.mark.slow(share=0.3)
@pytest.mark.filterwarnings("ignore")  # Those libraries have their own.
@pytest.mark.parametrize(("package", "make"), list(make_tables()))
def test_tables(package: str, make: Callable[[Any], Any]) -> None:
    table = make(pytest.importorskip(package))
    expected = maskcli.check(ROWS, model=make_tagger()).to_dict()
    result = maskcli.check(table, model=make_tagger()).to_dict()
    for name in ("inputs", "leak", "findings", "status"):
        assert result[name] == expected[name]
    assert maskcli.pad(table).tokens.tolist() == PADDED.tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["pandas", "polars", "datasets"])
def test_tables_with_several_columns(package: str) -> None:
    library = pytest.importorskip(package)
    make = library.Dataset.from_dict if package == "datasets" else library.DataFrame
    segments = [row[: len(tokens)] for row, tokens in zip(SEGMENTS.tolist(), ROWS, strict=True)]
    table = make({"segment_ids": segments, "tokens": ROWS, "y": TARGETS[..., 0].tolist()})
    model = make_pair_model()
    expected = model.evaluate([PADDED, SEGMENTS], TARGETS, verbose=0)
    report = maskcli.loss(table, model=model, targets_field="y")
    assert report.keras_evaluate == pytest.approx(expected)
    assert maskcli.pad(table).tokens.tolist() == PADDED.tolist()  # Segments and targets are no ids.
    with pytest.raises(InputError, match=r"'a', 'b'"):
        maskcli.pad(make({"a": ROWS, "b": ROWS}))
    ids = make({"input_ids": ROWS, "token_type_ids": segments, "labels": [1, 2, 3]})
    as_text = make({"ids": [str(row) for row in ROWS], "labels": ["a", "b", "a"]})  # As pandas reads lists from CSV.
    assert maskcli.pad(as_text).tokens.tolist() == PADDED.tolist()
    for chosen, field in ((make_tagger(), None), (make_tagger(), "input_ids"), ("embedding-lstm", "input_ids")):
        report = maskcli.check(ids, model=chosen, field=field)
        assert [(entry.name, entry.padded_timesteps) for entry in report.inputs] == [("tokens", 3)]
    with pytest.raises(InputError, match=r"no_such|'input_ids'"):
        maskcli.check(ids, model=make_tagger(), field="no_such")
    with pytest.raises(UsageError, match="a table with columns"):
        maskcli.check(ROWS, model=make_tagger(), field="tokens")


@pytest.mark.filterwarnings("ignore")
def test_tables_without_rows_and_splits() -> None:
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    with pytest.raises(InputError, match="the splits train"):
        maskcli.check(datasets.DatasetDict({"train": datasets.Dataset.from_dict({"tokens": ROWS})}))
    with pytest.raises(InputError, match="an empty table"):
        maskcli.check(pandas.DataFrame({"tokens": []}), model=make_tagger())
    labels = pandas.Series([1.0, 2.0, 3.0])
    assert maskcli.loss((pandas.Series(ROWS), labels), model=make_classifier()).first.total_timesteps


VOCABULARY = ["[PAD]", "[UNK]", "good", "night", "moon"]
TEXTS = ["Good night, moon!", "good sun"]
WORDS = {0: "[PAD]", 1: "[UNK]", 2: "good", 3: "night", 4: "moon"}


def make_library_tokenizer() -> Any:
    ids = {word: token for token, word in enumerate(VOCABULARY)}
    words = tokenizers.models.WordLevel(ids, unk_token="[UNK]")  # noqa: S106
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


@pytest.mark.parametrize("kind", ["list", "file", "library", "fast"])
def test_texts_with_a_tokenizer(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(VOCABULARY))
    library = make_library_tokenizer()
    chosen = {"list": VOCABULARY, "file": path, "library": library, "fast": SimpleNamespace(backend_tokenizer=library)}
    texts = TEXTS if kind in ("list", "file") else ["good night moon", "good sun"]
    batch = maskcli.pad(texts, tokenizer=chosen[kind])
    assert batch.tokens.tolist() == [[2, 3, 4], [2, 1, 0]]
    assert batch.data.words == WORDS


def test_texts_with_targets_and_models() -> None:
    report = maskcli.loss((TEXTS, [[1.0, 2.0, 3.0], [4.0, 5.0]]), model=make_tagger(), tokenizer=VOCABULARY)
    assert (report.first.valid_timesteps, report.data.words) == (5, WORDS)
    for model in ("embedding-lstm", make_tagger()):
        report = maskcli.check(np.array(TEXTS), model=model, tokenizer=VOCABULARY)
        assert (report.inputs[0].padded_timesteps, report.data.words) == (1, WORDS)
        assert "moon" in str(report)


def test_tokenizer_brings_its_padding_id() -> None:
    batch = maskcli.pad(["a b", "a"], tokenizer=["a", "b", "<pad>"])
    assert batch.tokens.tolist() == [[0, 1], [0, 2]]


def test_wrong_tokenizers_are_explained() -> None:
    with pytest.raises(UsageError, match=r"received a value of type int\.\nOf a TextVectorization layer pass"):
        maskcli.pad(TEXTS, tokenizer=3)
    with pytest.raises(InputError, match=r"a list of texts.*\nLeave tokenizer= out"):
        maskcli.pad(ROWS, tokenizer=VOCABULARY)
    with pytest.raises(InputError, match=r"received 'Good night, moon!'\.\nText becomes ids with tokenizer=FILE"):
        maskcli.pad(TEXTS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["pandas", "polars", "datasets"])
def test_tables_of_text(package: str) -> None:
    library = pytest.importorskip(package)
    make = library.Dataset.from_dict if package == "datasets" else library.DataFrame
    table = make({"text": TEXTS, "label": [0, 1]})
    for model in (make_tagger(), "embedding-lstm"):
        report = maskcli.inspect(table, model=model, tokenizer=VOCABULARY)
        assert (report.inputs[0].padded_timesteps, report.data.words) == (1, WORDS)
    assert maskcli.pad(table, tokenizer=VOCABULARY).tokens.tolist() == [[2, 3, 4], [2, 1, 0]]
    with pytest.raises(InputError, match="one column of text"):
        maskcli.pad(make({"a": TEXTS, "b": TEXTS}), tokenizer=VOCABULARY)


def test_inputs_by_order_are_noted() -> None:
    first, second = (keras.Input((None,), dtype="int32", name=name) for name in ("question", "answer"))
    embedding = layers.Embedding(10, 4, mask_zero=True)
    pooled = [layers.GlobalAveragePooling1D()(embedding(tokens)) for tokens in (first, second)]
    model = keras.Model([first, second], layers.Concatenate()(pooled))
    by_order = maskcli.check({"q": PADDED, "a": SEGMENTS + 1}, model=model)
    assert [(entry.name, entry.column) for entry in by_order.inputs] == [("question", "q"), ("answer", "a")]
    assert "inputs by order, as no names agree: question from q, answer from a" in str(by_order)
    by_name = maskcli.check({"answer": SEGMENTS + 1, "question": PADDED}, model=model)
    assert [entry.column for entry in by_name.inputs] == [None, None]
    assert "by order" not in str(by_name)
