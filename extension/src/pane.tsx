/** A pane of its own in the main area: one kind of thing of the shown cluster, as large as one likes. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { Shown } from './components/hooks';
import { rayjupIcon } from './icons';
import { PanelModel } from './model';
import { element, IPane } from './panes';
import { t } from './text';

export class PaneWidget extends ReactWidget {
  constructor(
    private _model: PanelModel,
    readonly pane: IPane
  ) {
    super();
    this.id = `rayjup-pane-${pane.name}`;
    this.title.label = t(pane.title);
    this.title.icon = rayjupIcon;
    this.title.closable = true;
    this.addClass('rj-Panel');
    this.addClass('rj-Pane');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', t(pane.title));
  }

  render(): JSX.Element {
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <Shown.Provider value={this.isVisible}>
            <Content model={this._model} pane={this.pane} />
          </Shown.Provider>
        )}
      </UseSignal>
    );
  }

  protected onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.update();
  }

  protected onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.update();
  }
}

function Content(props: { model: PanelModel; pane: IPane }): JSX.Element {
  const { model, pane } = props;
  const box = React.useRef<HTMLDivElement>(null);
  const [height, setHeight] = React.useState(400);
  React.useEffect(() => {
    const node = box.current;
    if (!node) {
      return undefined;
    }
    const observer = new ResizeObserver(() => setHeight(Math.max(160, node.clientHeight - 96)));
    observer.observe(node);
    return () => observer.disconnect();
  }, []);
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
