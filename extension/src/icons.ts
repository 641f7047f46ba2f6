import { LabIcon } from '@jupyterlab/ui-components';

import rayjupSvg from '../style/icons/rayjup.svg';

export const rayjupIcon = new LabIcon({ name: 'rayjup:logo', svgstr: rayjupSvg });
