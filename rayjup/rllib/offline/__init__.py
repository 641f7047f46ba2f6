"""Learning from recorded steps.

======================  =====================================================
`parquet`               episodes in Parquet files, one row per step
`offline_data`          `OfflineData`: recorded steps, and random draws of them
`offline_prelearner`    the same module path as Ray's
`offline_env_runner`    an env runner that records what it samples
`minari`                datasets of Minari as columns
======================  =====================================================
"""
