import * as React from 'react';

import { IColumn, VirtualTable } from '../components/virtualtable';
import { bytes, count } from '../format';
import { t, tn } from '../text';
import type { IObject } from '../types';
import { Document, IPaneProps } from './common';

const columns = (): IColumn<IObject>[] => [
  {
    key: 'id',
    title: t('object'),
    width: 'minmax(50px, 1fr)',
    value: row => row.object_id,
    tooltip: row => `${row.object_id}\n${row.call_site}\n${row.ip}`
  },
  {
    key: 'size',
    title: t('size'),
    width: '68px',
    number: true,
    value: row => row.object_size,
    render: row => (row.object_size >= 0 ? bytes(row.object_size) : '–')
  },
  {
    key: 'kind',
    title: t('held as'),
    width: '90px',
    value: row => row.reference_type,
    render: row => row.reference_type.toLowerCase().replace(/_/g, ' ')
  },
  { key: 'pid', title: 'pid', width: '56px', number: true, optional: true, value: row => row.pid }
];

/** Objects that processes hold, the largest first. */
export function ObjectsPane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="objects">
      {document => (
        <>
          <div className="rj-Summary">
            {document.kinds.map(kind => (
              <span key={kind.reference_type} className="rj-Chip">
                {count(kind.count)} {kind.reference_type.toLowerCase().replace(/_/g, ' ')} · {bytes(kind.bytes)}
              </span>
            ))}
          </div>
          {document.objects.length === 0 ? (
            <p className="rj-Hint">{t('No process holds an object.')}</p>
          ) : (
            <VirtualTable
              label={t('Objects')}
              name="objects"
              rows={document.objects}
              columns={columns()}
              rowKey={row => row.key}
              order="-size"
              maxHeight={props.maxHeight ?? 360}
            />
          )}
          {document.total > document.objects.length && (
            <p className="rj-More">
              {tn('… and %1 more', '… and %1 more', document.total - document.objects.length)}
            </p>
          )}
          {document.warning && <p className="rj-Hint">{document.warning}</p>}
        </>
      )}
    </Document>
  );
}
