"""Puts ids of things that exist into most paths, chosen by what the fuzzer came up with."""

import json
import os
import zlib

import schemathesis

KNOWN = json.loads(os.environ["CHATD_FUZZ_IDS"])


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    for name, value in (path_parameters or {}).items():
        known = KNOWN.get(name)
        digest = zlib.crc32(f"{name} {value}".encode())
        # Four of five; the rest shows what unknown and malformed ids are answered with.
        if known and digest % 5:
            path_parameters[name] = known[digest // 5 % len(known)]
    return path_parameters
