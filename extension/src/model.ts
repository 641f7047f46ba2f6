/** The state of the panel: what the server last said, and what the user chose. */

import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, ClustersApi } from './api';
import { reasonOf } from './format';
import { LiveConnection, LiveStatus } from './live';
import type {
  IClusterSummary,
  IDocuments,
  IOptions,
  ISnapshot,
  IStartOptions,
  LiveMessage,
  Topic
} from './types';

export interface IStartError {
  message: string;
  field: string | null;
}

/** What is kept of the panel when the page is loaded again. */
export interface IPanelState {
  cluster: string | null;
  folded: { [section: string]: boolean };
}

export class PanelModel implements IDisposable {
  constructor(readonly api: ClustersApi) {
    this._live = new LiveConnection({
      connect: () => api.openLive(),
      onMessage: message => this._onMessage(message),
      onDocument: (topic, cluster, document) => this._onDocument(topic, cluster, document),
      onStatus: status => this._onStatus(status)
    });
  }

  /** Something changed; the panel is drawn anew. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  clusters: IClusterSummary[] = [];
  /** Names (null: not chosen by the user) of clusters that are coming up, from any tab. */
  starting: (string | null)[] = [];
  /** False until the list has come for the first time. */
  loaded = false;
  status: LiveStatus = { state: 'connecting' };
  /** Why there is no connection, when the server can be asked and says so. */
  problem: string | null = null;
  /** What can be said when a cluster is started; null until the server was asked. */
  options: IOptions | null = null;
  startError: IStartError | null = null;
  optionsOpen = false;

  get selected(): IClusterSummary | null {
    return this.clusters.find(c => c.cluster_id === this._selected) ?? null;
  }

  get snapshot(): ISnapshot | null {
    return this.document('snapshot');
  }

  /** The newest version of a document of the shown cluster; null until it has come. */
  document<T extends Topic>(topic: T): IDocuments[T] | null {
    return this._documents.get(`${topic} ${this._selected}`) ?? null;
  }

  /** Why a document of the shown cluster cannot be had; null when it can. */
  trouble(topic: Topic): string | null {
    return this._troubles.get(`${topic} ${this._selected}`) ?? null;
  }

  /** Have a document of a cluster kept up to date until the returned function is called. */
  use(topic: Topic, cluster: string): () => void {
    const release = this._live.subscribe(topic, cluster);
    return () => {
      release();
      this._troubles.delete(`${topic} ${cluster}`);
    };
  }

  /** What is kept when the page is loaded again. */
  get state(): IPanelState {
    return { cluster: this._selected, folded: { ...this._folded } };
  }

  /** Go on where the page was left. */
  restore(state: Partial<IPanelState>): void {
    this._folded = { ...state.folded };
    this._preferred = state.cluster ?? null;
    if (state.cluster && this.clusters.some(c => c.cluster_id === state.cluster)) {
      this.select(state.cluster);
    }
    this._emit();
  }

  isFolded(section: string, otherwise: boolean): boolean {
    return this._folded[section] ?? otherwise;
  }

  fold(section: string, folded: boolean): void {
    if (this.isFolded(section, !folded) !== folded) {
      this._folded[section] = folded;
      this._emit();
    }
  }

  /** The server's clock, in seconds since the epoch. */
  get serverTime(): number {
    return Date.now() / 1000 + this._clockOffset;
  }

  /** A cluster is coming up, and this tab asked for it. */
  get busy(): boolean {
    return this._startsHere > 0;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._live.close();
    Signal.clearData(this);
  }

  /** Connect, and stay connected. */
  open(): void {
    this._live.open();
  }

  /** Whether anybody can see the page. */
  setVisible(visible: boolean): void {
    this._live.setVisible(visible);
  }

  retry(): void {
    this._live.open();
  }

  select(clusterId: string | null): void {
    if (clusterId !== this._selected) {
      this._selected = clusterId;
      this._emit();
    }
  }

  toggleOptions(): void {
    this.optionsOpen = !this.optionsOpen;
    this.startError = null;
    this._emit();
    if (this.optionsOpen) {
      void this.loadOptions();
    }
  }

  /** Ask what can be said when a cluster is started. */
  async loadOptions(): Promise<void> {
    try {
      this.options = await this.api.options();
    } catch (error) {
      this.startError = startErrorOf(error);
    }
    this._emit();
  }

  dismissError(): void {
    this.startError = null;
    this._emit();
  }

  /** Start a cluster and show it; false (and `startError`) when it did not come up. */
  async start(options: IStartOptions): Promise<boolean> {
    this._startsHere += 1;
    this.startError = null;
    this._emit();
    try {
      const started = await this.api.start(options);
      if (!this.clusters.some(c => c.cluster_id === started.cluster_id)) {
        this.clusters = [...this.clusters, started];
      }
      this.loaded = true;
      this.optionsOpen = false;
      this.select(started.cluster_id);
      return true;
    } catch (error) {
      this.startError = startErrorOf(error);
      return false;
    } finally {
      this._startsHere -= 1;
      this._emit();
    }
  }

  async stop(clusterId: string): Promise<void> {
    this._mark(clusterId);
    await this.api.stop(clusterId).catch((error: unknown) => {
      // Somebody else stopped it first: that is what was wanted.
      if (!(error instanceof ApiError && error.status === 404)) {
        throw error;
      }
    });
    this._setClusters(this.clusters.filter(c => c.cluster_id !== clusterId));
    this._emit();
  }

  /** Stop a cluster and start one with the options it was started with, or with the same name and resources. */
  async restart(cluster: IClusterSummary): Promise<void> {
    await this.stop(cluster.cluster_id);
    if (!(await this.start(cluster.options ?? alike(cluster)))) {
      throw new Error(this.startError?.message);
    }
  }

  async stopAll(): Promise<void> {
    this.clusters.forEach(c => this._mark(c.cluster_id));
    await this.api.stopAll();
    this._setClusters([]);
    this._emit();
  }

  private _mark(clusterId: string): void {
    this.clusters = this.clusters.map(c =>
      c.cluster_id === clusterId ? { ...c, state: 'stopping' as const } : c
    );
    this._emit();
  }

  private _onMessage(message: LiveMessage): void {
    switch (message.type) {
      case 'clusters':
        this.loaded = true;
        this.starting = message.starting;
        this._clockOffset = message.time - Date.now() / 1000;
        this._setClusters(message.clusters);
        break;
      case 'unreachable':
        this._troubles.set(`${message.topic} ${message.cluster}`, message.reason ?? 'it does not answer');
        break;
      case 'gone':
        this._setClusters(this.clusters.filter(c => c.cluster_id !== message.cluster));
        break;
      case 'error':
        console.warn(`rayjup: the server refused a message: ${message.message}`);
        break;
    }
    this._emit();
  }

  private _onDocument(topic: string, cluster: string, document: any): void {
    // What nobody looks at any more is kept as it was, and shown until something newer comes.
    this._documents.set(`${topic} ${cluster}`, document);
    this._troubles.delete(`${topic} ${cluster}`);
    this._emit();
  }

  /** Take over a list; one cluster is always shown if there is any. */
  private _setClusters(clusters: IClusterSummary[]): void {
    this.clusters = clusters;
    for (const table of [this._documents, this._troubles]) {
      for (const key of [...table.keys()]) {
        if (!clusters.some(c => key.endsWith(` ${c.cluster_id}`))) {
          table.delete(key);
        }
      }
    }
    if (!this.selected) {
      const preferred = clusters.find(c => c.cluster_id === this._preferred);
      const shown = preferred ?? clusters[clusters.length - 1];
      this.select(shown?.cluster_id ?? null);
    }
  }

  private _onStatus(status: LiveStatus): void {
    if (status.state === 'live' && this.status.state === 'live') {
      return;
    }
    this.status = status;
    if (status.state === 'live') {
      this.problem = null;
    } else if (status.state === 'reconnecting') {
      void this._findProblem();
    }
    this._emit();
  }

  /** A browser does not tell why a websocket was refused; a plain request does. */
  private async _findProblem(): Promise<void> {
    try {
      await this.api.list();
      this.problem = null;
    } catch (error) {
      this.problem = reasonOf(error);
    }
    this._emit();
  }

  private _emit(): void {
    if (!this._isDisposed) {
      this._changed.emit(undefined);
    }
  }

  private _live: LiveConnection;
  private _changed = new Signal<this, void>(this);
  private _documents = new Map<string, any>();
  private _troubles = new Map<string, string>();
  private _folded: { [section: string]: boolean } = {};
  private _preferred: string | null = null;
  private _selected: string | null = null;
  private _clockOffset = 0;
  private _startsHere = 0;
  private _isDisposed = false;
}

function startErrorOf(error: unknown): IStartError {
  return { message: reasonOf(error), field: error instanceof ApiError ? error.field : null };
}

/** Options that make a cluster like one that was started elsewhere. */
function alike(cluster: IClusterSummary): IStartOptions {
  const { CPU, GPU } = cluster.resources ?? {};
  // Of several nodes the sum is known, not what the first one had: that is left to the server.
  if (cluster.nodes !== 1) {
    return { name: cluster.name };
  }
  return { name: cluster.name, ...(CPU === undefined ? {} : { num_cpus: CPU }), num_gpus: GPU ?? 0 };
}
