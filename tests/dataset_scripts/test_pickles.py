"""The restricted unpickler: what it reads, what it refuses, and that a small file cannot claim much memory."""

import pickle
import struct
import tracemalloc
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

from dataset_scripts.pickle_machine import PickleMachine
from dataset_scripts.pickles import UnsafePickleError, load_pickle, peek_pickle, peek_root, problem_of

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
DATA = {
    "rows": CUBE,
    "transposed": CUBE.transpose(1, 0, 2),
    "fortran": np.asfortranarray(CUBE),
    "strided": CUBE[:, ::2],
    "viewed": np.arange(40_000, dtype=np.float64).reshape(100, 400),
    "big endian": CUBE.astype(">f8"),
    "text": np.array(["ab", "c", "é"]),
    "bytes": np.array([b"ab", b"c"]),
    "bools": np.array([True, False]),
    "complex": np.array([1j]),
    "empty": np.zeros((0, 3), np.int64),
    "0-d": np.array(3.0),
    "float scalar": np.float32(0.1),
    "text scalar": np.str_("ab"),
    "empty text scalar": np.str_(""),
    "bool scalar": np.bool_(True),
    "builtins": [
        1,
        2**70,
        -5,
        True,
        None,
        1.5,
        1j,
        "é",
        b"x" * 300,
        bytearray(b"abc"),
        {1, 2},
        frozenset({3}),
        (1, (2,)),
    ],
    "dicts": {"a": {("v", 1): [1]}, "ordered": OrderedDict(b=1), "default": defaultdict(list, c=[1])},
}


def write(path, content: bytes):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", DATA)
def test_data_come_back_as_they_were(name, protocol, tmp_path):
    expected = DATA[name]
    found = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(expected, protocol)))
    if isinstance(expected, np.ndarray):
        assert type(found) is np.ndarray and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("protocol", range(6))
def test_object_arrays_hold_arrays_and_repeats_stay_one(protocol, tmp_path):
    content = np.empty(4, object)
    content[:] = [CUBE, None, "x", CUBE]
    found = load_pickle(write(tmp_path / "a.pkl", pickle.dumps([content, CUBE], protocol)))
    assert list(found[0][1:3]) == [None, "x"] and found[0][0] is found[0][3] is found[1]
    np.testing.assert_array_equal(found[1], CUBE)


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_names_of_numpy_1_and_2(package, tmp_path):
    for protocol in (2, 4):
        written = pickle.dumps([CUBE[:, ::2], np.float64(2.5)], protocol)
        if protocol == 2:
            written = written.replace(b"numpy._core", package.encode())
        else:
            old, new = b"numpy._core.multiarray", f"{package}.multiarray".encode()
            written = written.replace(b"\x8c\x16" + old, b"\x8c" + bytes([len(new)]) + new)
            written = written[:3] + struct.pack("<Q", len(written) - 11) + written[11:]
        array, number = load_pickle(write(tmp_path / "a.pkl", written))
        np.testing.assert_array_equal(array, CUBE[:, ::2])
        assert number == 2.5 and type(number) is np.float64


# As Python 2.7 with numpy 1.16 writes it: 8-bit strings, `numpy.core`, the bytes of an array as a string.
PYTHON2 = (
    b"\x80\x02}q\x01(U\x05audioq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03"
    b"cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tbU\x04nameU\x03\xe9tau."
)


def test_python_2_files_need_an_encoding(tmp_path):
    path = write(tmp_path / "old.pkl", PYTHON2)
    found = load_pickle(path, encoding="latin1")
    assert found["audio"].tolist() == [1.0, -2.0] and found["name"] == "éta"
    assert load_pickle(path, encoding="bytes")[b"name"] == b"\xe9ta"
    with pytest.raises(ValueError, match=r"old.pkl: holds 8-bit strings of Python 2; read it with encoding='latin1'"):
        load_pickle(path)
    with pytest.raises(ValueError, match=r"encoding: expected one of ASCII, latin1, bytes, got 'utf-16'"):
        load_pickle(path, encoding="utf-16")


def call(module: str, name: str, arguments: bytes) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (call("os", "system", b"X\x04\x00\x00\x00true\x85"), "it names os.system; only numpy arrays, scalars and"),
        (call("builtins", "eval", b"X\x01\x00\x00\x001\x85"), "it names builtins.eval;"),
        (call("__builtin__", "getattr", b"NN\x86"), r"it names __builtin__.getattr;"),
        (call("numpy", "load", b"X\x01\x00\x00\x00a\x85"), "it names numpy.load;"),
        (call("numpy.core.multiarray", "fromfile", b"N\x85"), "it names numpy.core.multiarray.fromfile;"),
        (call("numpy", "__builtins__.eval", b"N\x85"), "it names numpy.__builtins__.eval;"),
        (call("a\rb", "c", b")"), r"it names a\?b.c;"),
        (b"\x80\x04\x8c\x0adatetime.x\x8c\x01y\x93.", "it names datetime.x.y;"),
        (b"\x80\x02K\x01)R.", "it calls a int;"),
        (b"(ios\nsystem\n.", "it uses the instruction INST, which makes other objects"),
        (b"(cnumpy\ndtype\no.", "it uses the instruction OBJ"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85\x81.", "it uses the instruction NEWOBJ"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "it uses the instruction BINPERSID"),
        (b"\x80\x02\x82\x01.", "it uses the instruction EXT1"),
        (b"\x80\x05\x97.", "it uses the instruction NEXT_BUFFER"),
        (b"\x80\x02]}b.", "it sets the state of a list"),
        (b"\x80\x02}K\x01a.", "it adds to a dict as if it were a list"),
        (b"\x80\x02](K\x01K\x02u.", "it adds to a list as if it were a dict"),
        (call("numpy", "ndarray", b"J\xff\xff\xff\x7f\x85"), "it calls numpy.ndarray;"),
        (call("numpy", "dtype", b"X\x05\x00\x00\x00f4,f4\x85"), "it holds an array of the type 'f4,f4'"),
        (call("builtins", "bytearray", b"J\xff\xff\xff\x7f\x85"), "it makes bytes of a int"),
        (call("builtins", "list", b"N\x85"), r"takes 0 positional arguments"),
        (
            b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
            "a key or member is a tuple that holds more than plain values",
        ),
    ],
)
def test_what_is_not_data_is_refused_by_name(content, message, tmp_path):
    with pytest.raises(ValueError, match=rf"bad.pkl: .*{message}") as caught:
        load_pickle(write(tmp_path / "bad.pkl", content))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_pickle_that_would_run_code_runs_none(tmp_path):
    class Attack:
        def __reduce__(self):
            return open, (str(tmp_path / "touched"), "w")

    for protocol in range(6):
        with pytest.raises(UnsafePickleError, match=r"refused, it names (_io|io|builtins|__builtin__)\.open;"):
            load_pickle(write(tmp_path / "bad.pkl", pickle.dumps([CUBE, Attack()], protocol)))
    assert not (tmp_path / "touched").exists()


LARGE = 3_000_000_000
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
NEW_ARRAY = RECONSTRUCT + b"K\x00\x85X\x01\x00\x00\x00b\x87R"
FLOATS = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
FLOATS += b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
LONG = b"\x8a\x05" + LARGE.to_bytes(5, "little")
CLAIMS = {
    "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", LARGE) + b"abc.", "it claims 3000000000 bytes where 4 are left"),
    "bytes4": (b"\x80\x04B" + struct.pack("<I", LARGE) + b"abc.", "it claims 3000000000 bytes where 4 are left"),
    "bytearray": (b"\x80\x05\x96" + struct.pack("<Q", LARGE) + b"abc.", "it claims 3000000000 bytes where 4 are left"),
    "text": (b"\x80\x04\x8d" + struct.pack("<Q", LARGE) + b"abc.", "it claims 3000000000 bytes where 4 are left"),
    "old text": (b"T" + struct.pack("<i", 2**31 - 1) + b"abc.", "it claims 2147483647 bytes where 4 are left"),
    "beyond 64 bits": (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "it claims 18446744073709551615 bytes"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", LARGE) + b"]", "cut off"),
    "integer": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc", "cut off"),
    "memo": (b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b"j\x00\x00\x00\x00.", "Memo value not found"),
    "at once": (b"\x80\x02" + RECONSTRUCT + LONG + b"\x85X\x01\x00\x00\x00b\x87R.", r"array .* of the shape \(3000000"),
    "shape": (
        b"\x80\x02" + NEW_ARRAY + b"(K\x01" + LONG + b"K\x02\x86" + FLOATS + b"\x89C\x04abcdtb.",
        r"an array of shape \(3000000000, 2\) and type float32 does not fit its 4 bytes",
    ),
    "objects": (
        b"\x80\x02" + NEW_ARRAY + b"(K\x01" + LONG
        + b"\x85cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R\x89]tb.",
        r"an array of objects of shape \(3000000000,\) does not fit",
    ),
    "width": (
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x0a\x00\x00\x00S999999999\x89\x88\x87RC\x01a\x86R.",
        "does not fit its 1 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_small_file_cannot_claim_much_memory(name, tmp_path):
    content, message = CLAIMS[name]
    path = write(tmp_path / "claim.pkl", content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"claim.pkl: .*{message}"):
            load_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_copies_of_one_string_again_and_again_are_refused(tmp_path):
    text = b"\x80\x04c_codecs\nencode\n\x940X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"\x940]("
    again = b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 1000
    with pytest.raises(UnsafePickleError, match="copies the same contents again and again"):
        load_pickle(write(tmp_path / "a.pkl", text + again + b"e."))


def test_many_references_to_one_list_are_fine(tmp_path):
    laughs = "ha"
    for _ in range(60):
        laughs = [laughs] * 10
    found = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(laughs)))
    assert found[0] is found[9]


def test_a_file_cut_anywhere_says_so(tmp_path):
    whole = pickle.dumps({"train": {"audio": CUBE, "id": ["a$_$1", "b$_$2"], "label": np.float64(1)}}, 4)
    for length in range(1, len(whole)):
        with pytest.raises(ValueError, match=r"cut.pkl: .*download it again"):
            load_pickle(write(tmp_path / "cut.pkl", whole[:length]))
    with pytest.raises(ValueError, match=r"ends after 40 bytes in the middle of the pickle: it is cut off"):
        load_pickle(write(tmp_path / "cut.pkl", whole[:40]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "this is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "this is a web page"),
        (b"\x1f\x8b\x08\x00", "this is gzip, unpack it first"),
        (b"hello", "not a readable pickle"),
    ],
)
def test_other_files_are_named(content, message, tmp_path):
    with pytest.raises(ValueError, match=rf"other.pkl: .*{message}"):
        load_pickle(write(tmp_path / "other.pkl", content))


def test_mutated_pickles_raise_value_errors_only(tmp_path):
    rng = np.random.default_rng(0)
    content = {
        "train": [(("a", CUBE), np.float32(1), "id")],
        "o": np.array([CUBE, None, "x"], object),
        "s": {1, (2, 3)},
    }
    for protocol in (0, 2, 4, 5):
        whole = pickle.dumps(content, protocol)
        for _ in range(300):
            changed = bytearray(whole)
            for place in rng.integers(0, len(whole), rng.integers(1, 4)):
                changed[place] = rng.integers(0, 256)
            path = write(tmp_path / "fuzz.pkl", bytes(changed))
            try:
                load_pickle(path, encoding="latin1")
            except ValueError as error:
                assert "\n" not in str(error)
            peek_pickle(path)


def test_large_arrays_are_views_of_the_file(tmp_path):
    large = np.ones((1000, 1000))
    path = write(tmp_path / "large.pkl", pickle.dumps({"a": large, "b": [large * 2]}, 4))
    tracemalloc.start()
    found = load_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < large.nbytes and found["b"][0].sum() == 2 * large.size
    assert not found["a"].flags.writeable


def test_peek_gives_the_keys_and_never_raises(tmp_path):
    content = {"train": {"raw_text": np.array(["x"]), "audio": np.ones((300, 1000)), "id": ["a"]}}
    for protocol in (2, 4):
        whole = pickle.dumps(content, protocol)
        assert {"train", "raw_text", "audio", "id"} <= peek_pickle(write(tmp_path / "a.pkl", whole))
        assert "raw_text" in peek_pickle(write(tmp_path / "cut.pkl", whole[: len(whole) // 2]))
    assert peek_pickle(tmp_path / "missing.pkl") == peek_pickle(write(tmp_path / "e.pkl", b"")) == set()
    assert peek_pickle(write(tmp_path / "x.pkl", b"\x89HDF\r\n")) == set()


def test_peek_stops_after_its_steps(tmp_path):
    path = write(tmp_path / "a.pkl", pickle.dumps([*(f"early {i}" for i in range(10)), "late"], 4))
    assert "late" in peek_pickle(path) and "late" not in peek_pickle(path, steps=10)


def test_the_machine_knows_no_instruction_beyond_the_library_s():
    assert set(PickleMachine.dispatch) == set(pickle._Unpickler.dispatch)


def test_peek_root_puts_together_what_was_read(tmp_path):
    rows = [(("w", np.ones((3, 4))), 1.0, "id")] * 5
    for protocol in (2, 4):
        keyed = pickle.dumps({"train": {"raw_text": ["a"] * 3, "audio": np.ones((300, 1000))}, "test": {}}, protocol)
        assert list(peek_root(write(tmp_path / "a.pkl", keyed))) == ["train", "test"]
        cut = peek_root(write(tmp_path / "b.pkl", keyed[: len(keyed) // 2]))
        assert list(cut) == ["train"] and "raw_text" in cut["train"]
        listed = pickle.dumps({"train": rows, "test": rows}, protocol)
        assert type(peek_root(write(tmp_path / "c.pkl", listed), steps=30)["train"]) is list
        single = pickle.dumps({"train": {"only": [1, 2, 3]}}, protocol)
        assert "only" in peek_root(write(tmp_path / "d.pkl", single[:-4]))["train"]
    assert peek_root(tmp_path / "missing.pkl") is None


def test_lists_that_hold_themselves_are_read(tmp_path):
    loop: list = [1]
    loop.append(loop)
    found = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(loop)))
    assert found[1] is found


# a tuple of the tuple before it twice, sixty times
SHARED = b")q\x000" + b"".join(b"h\x00h\x00\x86q\x000" for _ in range(60)) + b"h\x00"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cnumpy\ndtype\n" + SHARED + b"\x85R.", "it holds an array of the type tuple"),
        (RECONSTRUCT + SHARED + b"X\x01\x00\x00\x00b\x87R.", "of the shape tuple at once"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00a" + SHARED + b"\x86R.", "_codecs.encode with str and tuple"),
        (NEW_ARRAY + b"(K\x01" + SHARED + FLOATS + b"\x89C\x04abcdtb.", "tuple is no shape of an array"),
    ],
)
def test_tuples_that_share_their_members_are_never_written_out(content, message, tmp_path):
    path = write(tmp_path / "laughs.pkl", b"\x80\x02" + content)
    with pytest.raises(ValueError, match=message):
        load_pickle(path)
    problem_of(path), peek_root(path)  # neither hangs


def test_a_shape_of_endless_digits_is_named_with_the_file(tmp_path):
    digits = b"\x8b" + struct.pack("<i", 3000) + b"\x01" * 3000
    content = b"\x80\x02" + NEW_ARRAY + b"(K\x01" + digits + b"\x85" + FLOATS + b"\x89C\x04abcdtb."
    with pytest.raises(ValueError, match=r"a.pkl: .*\(an integer of 23993 bits,\) is no shape of an array"):
        load_pickle(write(tmp_path / "a.pkl", content))


@pytest.mark.parametrize("keys", [[k * (2**61 - 1) for k in range(20)], [(2**64, "a")], [1j]])
@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys])
def test_keys_that_may_all_have_one_hash_are_refused(keys, kind, tmp_path):
    for protocol in (2, 4):
        with pytest.raises(UnsafePickleError, match=r"a key or member is (an integer of more than 64 bits|a complex)"):
            load_pickle(write(tmp_path / "a.pkl", pickle.dumps(kind(keys), protocol)))


def test_values_are_remembered_under_plausible_numbers(tmp_path):
    path = write(tmp_path / "a.pkl", b"]p%d\n." % (7 * (2**61 - 1)))
    with pytest.raises(ValueError, match="remembers a value under an impossible number"):
        load_pickle(path)
    assert load_pickle(write(tmp_path / "b.pkl", b"]p4294967295\ng4294967295\n.")) == []


def test_what_is_wrong_with_a_file_is_told_without_reading_it(tmp_path):
    assert problem_of(write(tmp_path / "good.pkl", pickle.dumps(CUBE))) is None
    assert "ld.pkl: refused, it names os.system" in problem_of(
        write(tmp_path / "ld.pkl", call("os", "system", b"N\x85"))
    )
    assert "t.pkl: ends after 20 bytes" in problem_of(write(tmp_path / "t.pkl", pickle.dumps(CUBE)[:20]))
    assert "e.pkl: the file is empty" in problem_of(write(tmp_path / "e.pkl", b""))
    assert "gone.pkl: cannot be opened (No such file" in problem_of(tmp_path / "gone.pkl")
