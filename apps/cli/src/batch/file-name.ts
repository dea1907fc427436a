/** File systems take 255 bytes; a letter has up to four. */
const MOST_CHARACTERS = 60;

/** A part of a file name for any title: letters and digits of every script, the rest as `-`. May be empty. */
export function titleName(title: string): string {
  return shortened(
    title
      .toLowerCase()
      .replaceAll(/['’]/g, '')
      .replaceAll(/[^\p{L}\p{M}\p{N}]+/gu, '-')
      .replaceAll(/^-+/g, ''),
  ).replaceAll(/-+$/g, '');
}

/** Names of files for ids that anyone has chosen: none leaves the folder, none is used twice. */
export class IdNames {
  readonly #used = new Set<string>();

  /** The same ids in the same order have the same names. */
  nameOf(id: string, extension: string): string {
    const plain = shortened(id.replaceAll(/[^\p{L}\p{M}\p{N}._-]+/gu, '_'));
    const base = plain.replace(/^[.-]+/, '') || 'line';
    let name = `${base}.${extension}`;
    for (let next = 2; this.#used.has(name.toLowerCase()); next += 1) {
      name = `${base}-${next}.${extension}`;
    }
    this.#used.add(name.toLowerCase());
    return name;
  }
}

function shortened(text: string): string {
  return text.normalize('NFC').slice(0, MOST_CHARACTERS).toWellFormed().replaceAll('\ufffd', '');
}
