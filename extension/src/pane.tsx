/** A pane of its own in the main area: one kind of thing of the shown cluster, as large as one likes. */

import * as React from 'react';

import { useSize } from './components/hooks';
import { rayjupIcon } from './icons';
import { PanelModel } from './model';
import { element, IPane } from './panes';
import { t } from './text';
import { View } from './view';

export class PaneWidget extends View {
  constructor(
    model: PanelModel,
    readonly pane: IPane
  ) {
    super(model, 'rj-Panel', 'rj-Pane');
    this.id = `rayjup-pane-${pane.name}`;
    this.title.label = t(pane.title);
    this.title.icon = rayjupIcon;
    this.title.closable = true;
    this.name(t(pane.title));
  }

  protected draw(): JSX.Element {
    return <Content model={this.model} pane={this.pane} />;
  }
}

function Content(props: { model: PanelModel; pane: IPane }): JSX.Element {
  const { model, pane } = props;
  const box = React.useRef<HTMLDivElement>(null);
  const height = Math.max(160, useSize(box).height - 96);
  const { clusters, selected } = model;
  return (
    <>
      <div className="rj-Header">
        <h2 className="rj-Header-title">{t(pane.title)}</h2>
        {clusters.length > 0 && (
          <select
            aria-label={t('Cluster')}
            data-rayjup="pane-cluster"
            value={selected?.cluster_id ?? ''}
            onChange={event => model.select(event.target.value)}
          >
            {clusters.map(cluster => (
              <option key={cluster.cluster_id} value={cluster.cluster_id}>
                {cluster.name}
              </option>
            ))}
          </select>
        )}
      </div>
      <div ref={box} className={`rj-Body${model.status.state === 'reconnecting' ? ' rj-mod-stale' : ''}`}>
        {selected ? (
          element(pane, { model, cluster: selected, maxHeight: height })
        ) : (
          <p className="rj-Hint">{model.loaded ? t('No cluster is running.') : t('Looking for clusters…')}</p>
        )}
      </div>
    </>
  );
}
