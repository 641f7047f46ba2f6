/** What the server extension sends. Field names are those of the Python side. */

export interface IClusterSummary {
  cluster_id: string;
  name: string;
  address: string;
  /** Seconds since the epoch, on the server's clock. */
  created: number;
  started_by: string;
  linger_s: number | null;
  state: 'running' | 'unreachable' | 'stopping';
  reason: string | null;
  /** The last lines of its log, when it does not answer. */
  log?: string | null;
  nodes: number | null;
  resources: Resources | null;
  /** What is free of the resources, as of a few seconds ago. */
  available: Resources | null;
  /** Ids of nodes that were added from here. */
  added?: string[];
  /** With which options it was started from a panel; null when it was started elsewhere. */
  options?: IStartOptions | null;
  /** Whether it grows and shrinks by itself. */
  adapts?: boolean;
}

export type Resources = { [name: string]: number };

export interface IGpu {
  index: number;
  name: string;
  utilization: number | null;
  mem_used: number | null;
  mem_total: number | null;
  temperature: number | null;
  processes?: { pid: number; mem_used: number }[];
  /** Parts into which it is divided (MIG). */
  slices?: IGpu[];
}

export interface INode {
  node_id: string;
  name: string;
  host: string;
  alive: boolean;
  is_head: boolean;
  resources_total: Resources;
  resources_available: Resources;
  cpu_percent: number;
  mem_used: number;
  mem_total: number;
  store_used: number;
  store_capacity: number;
  store_objects: number;
  executors: number;
  gpus: IGpu[];
}

export interface ITaskRow {
  name: string;
  pending: number;
  running: number;
  finished: number;
  failed: number;
}

export interface IActorRow {
  actor_id: string;
  class_name: string;
  name: string | null;
  state: string;
  node_id: string | null;
  pid: number | null;
  pending: number;
}

export interface IDemand {
  resources: Resources;
  count: number;
}

export interface ISnapshot {
  cluster_id: string;
  name: string;
  address: string;
  time: number;
  started_by: string;
  uptime_s: number;
  nodes: INode[];
  tasks: ITaskRow[];
  actors: IActorRow[];
  resources_total: Resources;
  resources_available: Resources;
  demand: IDemand[];
  drivers: { pid: number; job_id: string }[];
  /** How many rows there were before the server cut them to what a panel can show. */
  totals: { nodes: number; tasks: number; actors: number };
}

/** Options of a cluster, as the server's schema names them. */
export interface IStartOptions {
  [name: string]: any;
}

/** The part of JSON schema that the forms understand. */
export interface ISchema {
  title?: string;
  description?: string;
  type?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  required?: string[];
  properties?: { [name: string]: ISchema };
}

/** Where and how a cluster is started, under a name. */
export interface IProfile {
  kind: string | null;
  summary: string;
  /** Why it cannot be used. */
  problem: string | null;
}

export interface IOptions {
  schema: ISchema;
  node_schema: ISchema;
  profiles: { [name: string]: IProfile };
  /** Whether this user may start a cluster with options of their own alone. */
  may_start_without_profile: boolean;
  max_clusters: number;
}

export interface ITrial {
  trial_id: string;
  status: string;
  config: { [name: string]: any };
  metrics: { [name: string]: number };
  iteration: number;
  seconds: number;
  curve: number[];
  error: string | null;
}

export interface IRun {
  kind: 'tune' | 'train' | 'rllib';
  run_id: string;
  name?: string;
  state: string;
  started: number;
  updated: number;
  ended: number | null;
}

export interface IExperiment extends IRun {
  metric: string | null;
  mode: string | null;
  total: number;
  counts: { [status: string]: number };
  best: { trial_id: string; value: number; config?: { [name: string]: any } } | null;
  trials: ITrial[];
}

export interface ITrainingRun extends IRun {
  iteration?: number;
  attempt?: number;
  failures?: number;
  seconds?: number;
  workers?: { rank: number; node_id: string; host: string; pid: number; gpus: string[]; state: string }[];
  metrics?: { [name: string]: any };
  history?: { [name: string]: number }[];
  checkpoints?: { path: string; status: string }[];
  note?: string;
  curve?: [number, number][];
}

export interface IDeployment {
  name: string;
  status: string;
  message?: string;
  replica_states: { [state: string]: number };
  target?: number;
  per_s?: number;
  p50_ms?: number;
  p99_ms?: number;
  errors?: number;
  requests?: number;
  ongoing?: number;
  waiting?: number;
}

export interface IApplication {
  name: string;
  status: string;
  message?: string;
  route_prefix?: string | null;
  deployments: IDeployment[];
}

export interface IServing {
  applications: IApplication[];
  host?: string;
  port?: number;
}

export interface IJob {
  id: string;
  submission_id: string | null;
  job_id: string | null;
  type: string;
  status: string;
  entrypoint: string;
  message: string | null;
  start_time: number;
  end_time: number | null;
  exit_code: number | null;
}

export interface IObject {
  key: string;
  object_id: string;
  object_size: number;
  reference_type: string;
  pid: number;
  type: string;
  ip: string;
  task_status: string | null;
  call_site: string;
}

export interface IObjects {
  total: number;
  warning: string;
  kinds: { reference_type: string; count: number; bytes: number }[];
  objects: IObject[];
}

export interface ISpan {
  key: string;
  name: string;
  place: string;
  start: number;
  end: number | null;
  state: string;
}

export interface ITimeline {
  warning: string;
  total: number;
  spans: ISpan[];
}

export interface ILogFiles {
  nodes: { node_id: string; name: string; files: string[] }[];
}

export interface ILogPiece {
  text: string;
  next: number;
  size: number;
}

export interface IDocuments {
  snapshot: ISnapshot;
  trials: { experiments: IExperiment[] };
  training: { runs: ITrainingRun[] };
  deployments: IServing;
  jobs: { jobs: IJob[] };
  objects: IObjects;
  timeline: ITimeline;
  logs: ILogFiles;
}

export type Topic = keyof IDocuments;

/** What has changed between two versions of a document. */
export interface IChange {
  rows?: string;
  set?: { [key: string]: any };
  change?: { [key: string]: IChange };
  drop?: string[];
  order?: string[];
}

export type LiveMessage =
  | {
      type: 'clusters';
      clusters: IClusterSummary[];
      starting: (string | null)[];
      time: number;
    }
  | { type: 'whole'; topic: string; cluster: string; version: number; document: any }
  | { type: 'change'; topic: string; cluster: string; from: number; version: number; change: IChange }
  | { type: 'unreachable'; topic: string; cluster: string; reason: string | null }
  | { type: 'gone'; cluster: string }
  | { type: 'error'; message: string; field?: string };
