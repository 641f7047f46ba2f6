/** The REST side of the server extension. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IClusterSummary, ILogPiece, IOptions, IStartOptions } from './types';

/** A refusal of the server, with its text and, for a bad request, the field at fault. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly field: string | null = null
  ) {
    super(message);
  }
}

export class ClustersApi {
  constructor(settings: ServerConnection.ISettings) {
    this._settings = settings;
  }

  async list(): Promise<IClusterSummary[]> {
    return (await this._request('GET', '')).clusters;
  }

  async start(options: IStartOptions): Promise<IClusterSummary> {
    return this._request('POST', '', options);
  }

  async stop(clusterId: string): Promise<void> {
    await this._request('DELETE', `/${encodeURIComponent(clusterId)}`);
  }

  async stopAll(): Promise<void> {
    await this._request('DELETE', '');
  }

  /** What can be said when a cluster is started. */
  async options(): Promise<IOptions> {
    return this._ask('GET', ['options']);
  }

  async addNode(cluster: string, options: object): Promise<void> {
    await this._ask('POST', ['clusters', cluster, 'added_nodes'], options);
  }

  async removeNode(cluster: string, node: string): Promise<void> {
    await this._ask('DELETE', ['clusters', cluster, 'added_nodes', node]);
  }

  /** Have a cluster have as many nodes as it needs, between these; null: those it has. */
  async adapt(cluster: string, nodes: { min: number; max: number } | null): Promise<void> {
    await this._ask(nodes ? 'PUT' : 'DELETE', ['clusters', cluster, 'adapt'], nodes ?? undefined);
  }

  /** Ask a run to end, or one trial of it. */
  async stopRun(cluster: string, kind: string, run: string, trial?: string): Promise<void> {
    const body = trial === undefined ? {} : { trial_id: trial };
    await this._ask('POST', ['clusters', cluster, 'runs', kind, run, 'stop'], body);
  }

  /** Run a program on the cluster; its id. */
  async submit(cluster: string, job: object): Promise<string> {
    return (await this._ask('POST', ['clusters', cluster, 'submissions'], job)).submission_id;
  }

  async stopJob(cluster: string, job: string): Promise<void> {
    await this._ask('POST', ['clusters', cluster, 'submissions', job, 'stop'], {});
  }

  async deleteJob(cluster: string, job: string): Promise<void> {
    await this._ask('DELETE', ['clusters', cluster, 'submissions', job]);
  }

  async deleteApplication(cluster: string, name: string): Promise<void> {
    await this._ask('DELETE', ['clusters', cluster, 'applications', name]);
  }

  /** The last lines of a log file, or what follows the position `start`. */
  async log(cluster: string, node: string, name: string, start: number | null): Promise<ILogPiece> {
    const query = URLExt.objectToQueryString({
      node_id: node,
      name,
      ...(start === null ? { lines: 1000 } : { start })
    });
    return this._ask('GET', ['clusters', cluster, 'logs', 'file'], undefined, query);
  }

  /** Where a cluster's dashboard is to be seen; it is started where there is none. */
  async dashboard(cluster: string): Promise<string> {
    const { path } = await this._ask('POST', ['clusters', cluster, 'dashboard'], {});
    return URLExt.join(this._settings.baseUrl, path);
  }

  /** Where an application of Serve is to be seen. */
  application(cluster: string, route: string): string {
    return URLExt.join(this._settings.baseUrl, 'rayjup', 'clusters', cluster, 'serve', route, '/');
  }

  /** A new websocket to the live endpoint, authenticated as JupyterLab's own are. */
  openLive(): WebSocket {
    const { wsUrl, token, appendToken, WebSocket: Socket } = this._settings;
    let url = URLExt.join(wsUrl, 'rayjup', 'live');
    if (appendToken && token !== '') {
      url += `?token=${encodeURIComponent(token)}`;
    }
    return new Socket(url);
  }

  private async _request(method: string, path: string, body?: object): Promise<any> {
    return this._send(method, URLExt.join(this._settings.baseUrl, 'rayjup', 'clusters') + path, body);
  }

  private async _ask(method: string, parts: string[], body?: object, query = ''): Promise<any> {
    const path = parts.map(encodeURIComponent).join('/');
    return this._send(method, URLExt.join(this._settings.baseUrl, 'rayjup', path) + query, body);
  }

  private async _send(method: string, url: string, body?: object): Promise<any> {
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        url,
        { method, body: body === undefined ? undefined : JSON.stringify(body) },
        this._settings
      );
    } catch (error) {
      throw new ApiError('The Jupyter server cannot be reached.', 0);
    }
    const text = await response.text();
    const data = parse(text);
    if (!response.ok) {
      throw new ApiError(reason(response.status, data?.message), response.status, data?.field ?? null);
    }
    return data;
  }

  private _settings: ServerConnection.ISettings;
}

function parse(text: string): any {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    // A proxy in between answers with HTML; the status tells enough.
    return null;
  }
}

function reason(status: number, message: string | undefined): string {
  if (status === 401 || status === 403) {
    return 'You are not logged in to the Jupyter server any more. Reload the page and log in.';
  }
  if (status === 404 && !message) {
    return 'The server extension rayjup_lab is not running. Install rayjup where the Jupyter server runs, then restart the server.';
  }
  return message || `The Jupyter server answered with status ${status}.`;
}
