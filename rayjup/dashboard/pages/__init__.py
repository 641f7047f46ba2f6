"""The dashboard's pages, built with Panel, which is imported when the first page is opened.

==============  ======================================================================
`mount`         the pages' place in the REST server: who may see them, and loading Panel
`feed`          one reading of the cluster for all pages that are open
`frame`         what all pages share: template, navigation, tables, curves
`cluster`       overview, nodes, tasks, actors, objects, timeline
`runs`          trials, training runs, deployments
`work`          jobs, logs
==============  ======================================================================

All addresses in pages are relative, so they work behind any proxy.
"""
