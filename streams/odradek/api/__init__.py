"""Wire classes under the import paths that code written for Temporal uses
(`odradek.api.common.v1.Payload`). Re-exports only.
"""
