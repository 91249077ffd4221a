"""Donor search of universal labels with given embeddings: seconds, peak memory, and the ratio to a plain double loop.

    python -m benchmarks.label_speed --utterances 44000 --threads 2

Rows are spread over the four benchmarks and their splits as published; embeddings are random unit vectors around 200
topics, one row in ten a copy of another (people say "Yeah." often). No row is neutral, so all of them are searched:
more than in real data. The plain loop takes one pair at a time, `scipy.spatial.distance.cosine`, over 1,000 rows and
1,000 donors; its time a pair is scaled to the pairs that the search compares, and not measured at full size.
"""

import argparse
import os
import resource
import time

import numpy as np
from threadpoolctl import threadpool_limits

from dataset_scripts.donors import DONOR_POLARITIES, assign_labels

# Rows of train, validation and test (Hu et al. 2022, table 1).
PUBLISHED = {
    "mosi": (1284, 229, 686),
    "mosei": (16326, 1871, 4659),
    "meld": (9989, 1108, 2610),
    "iemocap": (5354, 528, 1650),
}
MSA = ("mosi", "mosei")
TARGET_SECONDS, TARGET_GIB = 20.0, 2.0
LOOP_ROWS = 1000


def make_rows(count: int) -> list[dict]:
    """`count` rows, in each split of each benchmark its share; polarities alternate."""
    total = sum(map(sum, PUBLISHED.values()))
    rows = []
    for dataset, sizes in PUBLISHED.items():
        for split, size in zip(("train", "validation", "test"), sizes, strict=True):
            for number in range(round(size * count / total)):
                polarity = DONOR_POLARITIES[number % 2]
                sentiment = (-1.5, 1.5)[number % 2] if dataset in MSA else None
                emotion = None if dataset in MSA else ("anger", "joy")[number % 2]
                row = {"id": f"{dataset}/{split}/{number:05}", "dataset": dataset, "split": split, "text": "text"}
                rows.append(row | {"sentiment": sentiment, "emotion": emotion, "polarity": polarity})
    return rows


def make_embeddings(count: int, size: int) -> np.ndarray:
    """(count, size) float32."""
    generator = np.random.default_rng(0)
    topics = generator.standard_normal((200, size), dtype=np.float32)
    embeddings = generator.standard_normal((count, size), dtype=np.float32)
    embeddings += topics[generator.integers(0, 200, count)]
    copies = generator.choice(count, count // 10, replace=False)
    embeddings[copies] = embeddings[generator.integers(0, count, len(copies))]
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def compared_pairs(rows: list[dict], leaky: bool) -> int:
    """Pairs of a row and a donor of the other task and the same polarity."""
    pairs = 0
    for polarity in DONOR_POLARITIES:
        for seekers_msa in (True, False):
            own = [row for row in rows if row["polarity"] == polarity]
            seekers = sum((row["dataset"] in MSA) == seekers_msa for row in own)
            donors = [row for row in own if (row["dataset"] in MSA) != seekers_msa]
            pairs += seekers * sum(leaky or row["split"] == "train" for row in donors)
    return pairs


def loop_seconds_a_pair(embeddings: np.ndarray) -> float:
    """Seconds that the plain loop needs for one pair, on 1,000 x 1,000 of them."""
    from scipy.spatial.distance import cosine

    queries, donors = embeddings[:LOOP_ROWS], embeddings[-LOOP_ROWS:]
    began = time.perf_counter()
    for query in queries:
        best, nearest = -2.0, None
        for position, donor in enumerate(donors):
            similarity = 1.0 - cosine(query, donor)
            if similarity > best:
                best, nearest = similarity, position
    assert nearest is not None
    return (time.perf_counter() - began) / (len(queries) * len(donors))


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=44_000)
    parser.add_argument("--size", type=int, default=384, help="of an embedding")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--search", choices=["exact", "faiss"], default="exact")
    options = parser.parse_args()

    rows = make_rows(options.utterances)
    embeddings = make_embeddings(len(rows), options.size)
    print(f"{len(rows)} rows, {options.size}-d, {options.threads} threads, {os.cpu_count()} cores, {options.search}")
    print(f"{'donors from':12} {'pairs':>12} {'seconds':>8} {'peak GiB':>9} {'loop, scaled':>13} {'ratio':>8}")
    found = {}
    with threadpool_limits(options.threads):
        for leaky in (False, True):
            began = time.perf_counter()
            labels = assign_labels(rows, embeddings, leaky_donors=leaky, search=options.search)
            found[leaky] = (time.perf_counter() - began, peak_gib())
            if not all(label.source == "donor" for label in labels):
                raise ValueError("expected a donor for every row")
        pair = loop_seconds_a_pair(embeddings)
    for leaky, (seconds, memory) in found.items():
        pairs = compared_pairs(rows, leaky)
        name, loop = "all splits" if leaky else "train", pair * pairs
        print(f"{name:12} {pairs:12,} {seconds:8.2f} {memory:9.2f} {loop:11,.0f} s {loop / seconds:7,.0f}x")
    seconds, memory = found[False]
    met = "met" if seconds <= TARGET_SECONDS and memory <= TARGET_GIB else "missed"
    print(f"target: at most {TARGET_SECONDS:.0f} s and {TARGET_GIB:.0f} GiB with donors from train: {met}")
    print(f"the loop: {pair * 1e6:.1f} us a pair, measured on {LOOP_ROWS:,} x {LOOP_ROWS:,} pairs and scaled")


if __name__ == "__main__":
    main()
