"""What is in one cluster: documents to watch, logs, runs, jobs, applications (``manager``, ``handlers``)."""
