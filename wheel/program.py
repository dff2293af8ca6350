"""Puts the built program into the wheel: WHEEL_PROGRAM is its path, WHEEL_PLATFORM the platform it runs on."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Program(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["force_include"][os.environ["WHEEL_PROGRAM"]] = "score_onnx/handler"
        build_data["force_include"]["../LICENSE"] = "score_onnx/LICENSE"
        build_data["pure_python"] = False
        # It needs no Python of its own: any version starts it.
        build_data["tag"] = f"py3-none-{os.environ['WHEEL_PLATFORM']}"
