"""A stranger's stage."""

import tosc_env


class Negate(tosc_env.Stage):
    def protect(self, symbols, context):
        return -symbols

    def recover(self, received, csi, context):
        return -received
