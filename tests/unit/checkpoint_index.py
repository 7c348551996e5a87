# SPDX-License-Identifier: Apache-2.0
# The oracle of checkpoint_index_test: reads every tensor of an index.h5 with h5py and counts, against
# raw f32 files named GROUP+TENSOR, the elements that are equal, NaN, and wrong.
import os
import sys

import h5py
import numpy

index, raw = sys.argv[1:3]
equal = missing = wrong = 0
# Read before the index takes all the file descriptors there are.
known = {name: numpy.fromfile(os.path.join(raw, name), dtype="<f4") for name in os.listdir(raw)}
names = []
with h5py.File(index, "r") as file:
    note = file.attrs["note"]
    for group in file:
        for name in file[group]:
            names.append(group + "+" + name)
            dataset = file[group][name]
            assert dataset.is_virtual and numpy.isnan(dataset.fillvalue), name
            values = dataset[...]
            expected = known[names[-1]]
            assert values.size == expected.size and values.dtype == expected.dtype, name
            values = values.reshape(-1)
            equal += int((values == expected).sum())
            missing += int(numpy.isnan(values).sum())
            wrong += int((~numpy.isnan(values) & (values != expected)).sum())
assert sorted(names) == sorted(known), names
assert b"NaN" in (note if isinstance(note, bytes) else note.encode())
print("equal", equal, "missing", missing, "wrong", wrong)
