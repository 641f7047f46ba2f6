/** All panes, in the order of the panel: each can be folded there, or opened in the main area. */

import * as React from 'react';

import type { IDocuments, Topic } from '../types';
import { ActorsPane, NodesPane, TasksPane } from './cluster';
import type { IPaneProps } from './common';
import { DeploymentsPane } from './deployments';
import { JobsPane } from './jobs';
import { LogsPane } from './logs';
import { ObjectsPane } from './objects';
import { TimelinePane } from './timeline';
import { TrainingPane } from './training';
import { TrialsPane } from './trials';

export interface IPane {
  name: string;
  title: string;
  component: (props: IPaneProps) => JSX.Element;
  topic: Topic;
  /** What is in it, where that is known; of what has not been asked for, nothing is. */
  count: (documents: Partial<IDocuments>) => number | null;
  /** Whether it is folded until somebody opens it. */
  folded: boolean;
}

const length = (rows: unknown[] | undefined): number | null => rows?.length ?? null;

export const PANES: IPane[] = [
  {
    name: 'nodes',
    title: 'Nodes',
    component: NodesPane,
    topic: 'snapshot',
    count: d => d.snapshot?.totals.nodes ?? null,
    folded: false
  },
  {
    name: 'tasks',
    title: 'Tasks',
    component: TasksPane,
    topic: 'snapshot',
    count: d => d.snapshot?.totals.tasks ?? null,
    folded: false
  },
  {
    name: 'actors',
    title: 'Actors',
    component: ActorsPane,
    topic: 'snapshot',
    count: d => d.snapshot?.totals.actors ?? null,
    folded: false
  },
  {
    name: 'trials',
    title: 'Trials',
    component: TrialsPane,
    topic: 'trials',
    count: d => d.trials?.experiments.reduce((sum, one) => sum + one.trials.length, 0) ?? null,
    folded: true
  },
  {
    name: 'training',
    title: 'Training runs',
    component: TrainingPane,
    topic: 'training',
    count: d => length(d.training?.runs),
    folded: true
  },
  {
    name: 'deployments',
    title: 'Deployments',
    component: DeploymentsPane,
    topic: 'deployments',
    count: d => d.deployments?.applications.reduce((sum, app) => sum + app.deployments.length, 0) ?? null,
    folded: true
  },
  { name: 'jobs', title: 'Jobs', component: JobsPane, topic: 'jobs', count: d => length(d.jobs?.jobs), folded: true },
  {
    name: 'objects',
    title: 'Objects',
    component: ObjectsPane,
    topic: 'objects',
    count: d => d.objects?.total ?? null,
    folded: true
  },
  {
    name: 'timeline',
    title: 'Timeline',
    component: TimelinePane,
    topic: 'timeline',
    count: d => d.timeline?.total ?? null,
    folded: true
  },
  { name: 'logs', title: 'Logs', component: LogsPane, topic: 'logs', count: () => null, folded: true }
];

/** A pane by its name. */
export function paneOf(name: unknown): IPane | undefined {
  return PANES.find(pane => pane.name === name);
}

export function element(pane: IPane, props: IPaneProps): JSX.Element {
  return React.createElement(pane.component, props);
}
