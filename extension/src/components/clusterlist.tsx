import { addBelowIcon, copyIcon, launchIcon, refreshIcon, stopIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs } from '../commandids';
import { amount, duration } from '../format';
import { PanelModel } from '../model';
import type { IClusterSummary } from '../types';
import { t, tn } from '../text';
import { IconButton } from './iconbutton';

/** All running clusters of the user, and those coming up. */
export function ClusterList(props: { model: PanelModel; commands: CommandRegistry }): JSX.Element {
  const { model, commands } = props;
  // A start this tab asked for is shown at once, before the server tells of it.
  const starting = model.starting.length ? model.starting : model.busy ? [null] : [];
  return (
    <ul className="rj-List" data-rayjup="clusters" aria-label={t('Clusters')}>
      {model.clusters.map(cluster => (
        <Row key={cluster.cluster_id} cluster={cluster} model={model} commands={commands} />
      ))}
      {starting.map((name, index) => (
        <li key={`starting-${index}`} className="rj-Row rj-mod-starting">
          <span className="rj-Dot rj-mod-busy" />
          <div className="rj-Row-text">
            <span className="rj-Row-name">{name ?? t('New cluster')}</span>
            <span className="rj-Row-meta">{t('starting…')}</span>
          </div>
        </li>
      ))}
    </ul>
  );
}

function Row(props: {
  cluster: IClusterSummary;
  model: PanelModel;
  commands: CommandRegistry;
}): JSX.Element {
  const { cluster, model, commands } = props;
  const selected = model.selected?.cluster_id === cluster.cluster_id;
  const args = { cluster: cluster.cluster_id };
  const stopping = cluster.state === 'stopping';
  return (
    <li
      className={`rj-Row${selected ? ' rj-mod-selected' : ''}`}
      data-rayjup="cluster"
      data-cluster={cluster.cluster_id}
      title={`${cluster.name}\n${cluster.address}\n${describe(cluster)}`}
      onClick={() => model.select(cluster.cluster_id)}
    >
      <span className={`rj-Dot rj-mod-${cluster.state}`} />
      <div className="rj-Row-text">
        <button className="rj-Row-name" aria-pressed={selected}>
          {cluster.name}
        </button>
        <span className="rj-Row-meta">{meta(cluster, model.serverTime)}</span>
        <span className="rj-Row-address">{cluster.address}</span>
      </div>
      <div className="rj-Row-actions">
        <IconButton
          icon={addBelowIcon}
          name="insert"
          label={t('Insert a %ray_init cell into the current notebook')}
          disabled={stopping || !commands.isEnabled(CommandIDs.insertCell, args)}
          onClick={() => void commands.execute(CommandIDs.insertCell, args)}
        />
        <IconButton
          icon={copyIcon}
          name="copy"
          label={t('Copy the code that joins this cluster')}
          disabled={stopping}
          onClick={() => void commands.execute(CommandIDs.copyCode, args)}
        />
        <IconButton
          icon={launchIcon}
          name="dashboard"
          label={t('Open the dashboard of this cluster')}
          disabled={stopping}
          onClick={() => void commands.execute(CommandIDs.openDashboard, args)}
        />
        <IconButton
          icon={refreshIcon}
          name="restart"
          label={t('Restart this cluster…')}
          disabled={stopping || cluster.started_by === 'dask'}
          onClick={() => void commands.execute(CommandIDs.restart, args)}
        />
        <IconButton
          icon={stopIcon}
          name="stop"
          label={t('Stop this cluster…')}
          disabled={stopping}
          onClick={() => void commands.execute(CommandIDs.stop, args)}
        />
      </div>
    </li>
  );
}

function meta(cluster: IClusterSummary, now: number): string {
  if (cluster.state === 'stopping') {
    return t('stopping…');
  }
  if (cluster.state === 'unreachable') {
    return t('does not answer');
  }
  const parts = [];
  if (cluster.nodes !== null) {
    parts.push(tn('%1 node', '%1 nodes', cluster.nodes));
  }
  for (const [key, unit] of [
    ['CPU', 'CPU'],
    ['GPU', 'GPU']
  ]) {
    const value = cluster.resources?.[key];
    if (value) {
      parts.push(`${amount(value)} ${unit}`);
    }
  }
  parts.push(duration(now - cluster.created));
  return parts.join(' · ');
}

function describe(cluster: IClusterSummary): string {
  const lines = [t('started by %1', cluster.started_by)];
  if (cluster.linger_s !== null) {
    lines.push(t('stops %1 after the last notebook has left it', duration(cluster.linger_s)));
  }
  if (cluster.reason) {
    lines.push(cluster.reason);
  }
  return lines.join('\n');
}
