"""The directory that is put in front of the import path of a job's program: in it ``ray`` is rayjup."""
