import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_unimse.universal_label_unimse import (
    EMOTIONS,
    UniversalLabel,
    all_labels,
    format_label,
    native_label,
    parse_label,
    polarity_of,
    target_intensity,
)

VALID = {
    "positive,1.6,joy": ("positive", 1.6, "joy"),
    "negative,-3.0,sadness": ("negative", -3.0, "sadness"),
    "neutral,0.0,neutral": ("neutral", 0.0, "neutral"),
    "negative,-0.1,surprise": ("negative", -0.1, "surprise"),
}
INVALID = [
    "",
    "positive",
    "positive,1.6",
    "positive,1.6,joy,joy",
    "positive, 1.6,joy",
    "positive,1.60,joy",
    "positive,+1.6,joy",
    "positive,3.1,joy",
    "positive,-1.6,joy",
    "positive,0.0,joy",
    "neutral,-0.0,neutral",
    "positive,nan,joy",
    "happy,1.6,joy",
    "positive,1.6,Joy",
    "positive,1.6,bliss",
    " positive,1.6,joy",
]
scores = st.floats(-3, 3)


@pytest.mark.parametrize(("text", "fields"), VALID.items())
def test_valid_labels_parse_to_their_fields(text, fields):
    label = parse_label(text)
    assert (label.polarity, label.intensity, label.emotion) == fields
    assert format_label(label) == text


@pytest.mark.parametrize("text", INVALID)
def test_what_is_not_a_label_is_refused_and_quoted(text):
    with pytest.raises(ValueError, match="not a universal label"):
        parse_label(text)


@given(scores, st.sampled_from(EMOTIONS))
def test_parse_inverts_format(score, emotion):
    label = UniversalLabel(polarity_of(score), target_intensity(score), emotion)
    assert parse_label(format_label(label)) == label


@given(st.floats(-10, 10))
def test_target_intensity_is_within_a_decimal_and_keeps_the_sign(score):
    intensity = target_intensity(score)
    assert abs(intensity - max(-3, min(3, score))) <= 0.1
    assert polarity_of(intensity) == polarity_of(score)


@pytest.mark.parametrize(("score", "expected"), [(1 / 3, 0.3), (-2 / 3, -0.7), (0.01, 0.1), (-0.04, -0.1), (4.0, 3.0)])
def test_target_intensity_examples(score, expected):
    assert target_intensity(score) == expected


def test_the_language_has_each_label_once():
    labels = list(all_labels())
    assert len(labels) == len(set(labels)) == 61 * len(EMOTIONS)


def test_native_label_fills_only_the_missing_half():
    assert native_label("positive", 2.4, None) == UniversalLabel("positive", 2.4, "joy")
    assert native_label("negative", None, "fear") == UniversalLabel("negative", -1.0, "fear")
    assert native_label("neutral", None, "neutral") == UniversalLabel("neutral", 0.0, "neutral")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("good", 1.0, "joy"), "polarity: expected one of negative, neutral, positive, got 'good'"),
        (("positive", 3.5, "joy"), "intensity: expected a number in .*, got 3.5"),
        (("positive", -1.0, "joy"), "its sign must agree with polarity 'positive', got -1.0"),
        (("positive", 1.0, "Great joy"), "expected a lower-case word .*, got 'Great joy'"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        UniversalLabel(*fields)
