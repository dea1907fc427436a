/** Words that end with a full stop of their own. */
export interface Abbreviations {
  /** The sentence always goes on: titles, `e.g.` */
  always: ReadonlySet<string>;
  /** The sentence goes on before a number: `No. 5`. */
  beforeNumber: ReadonlySet<string>;
  /** The sentence ends before a capital letter only: `etc.` */
  beforeSmall: ReadonlySet<string>;
  /** `am 3. Oktober`: a full stop makes a number an ordinal. */
  ordinals: boolean;
}

interface Entry {
  always?: string;
  beforeNumber?: string;
  beforeSmall?: string;
  ordinals?: true;
}

/** Understood in every language: names and titles travel. */
const COMMON: Entry = {
  always:
    'Mr Mrs Ms Mx Dr Drs Prof St Gen Col Lt Capt Cpt Sgt Maj Adm Cmdr Rev Hon Gov Pres Sen Rep Fr Messrs Mme Mlle Mgr e.g i.e eg ie vs cf viz',
  beforeNumber: 'No Nos Nr Fig Figs Vol Vols Art Eq Ch Sec Tab Abs p pp no. vol fig art eq sec',
  beforeSmall: 'etc Inc Ltd Co Corp Jr Sr Bros al dept approx est ed eds Ave Blvd Rd',
};

const LANGUAGES: Record<string, Entry> = {
  en: { always: 'Supt Det Insp Ald', beforeNumber: 'Sect para ver v' },
  de: {
    always:
      'Hr Hrn Fr Frl Dipl Ing Mag Hl bzw ca vgl z.B z.T d.h u.a u.U i.d.R s.o s.u v.a m.E o.ä z.Zt inkl exkl evtl ggf sog geb gest Str',
    beforeNumber: 'Nr Abb Bd Kap S Art Tel',
    beforeSmall: 'usw etc u.s.w Mio Mrd Jh Jhd',
    ordinals: true,
  },
  fr: {
    always: 'M MM Mme Mmes Mlle Mlles Me Mgr Vve p.ex av env ex',
    beforeNumber: 'n° art chap fig vol tél',
    beforeSmall: 'etc apr J.-C',
  },
  es: {
    always:
      'Sr Sra Srta Sres D Dña Dra Ud Uds Vd Vds p.ej ej Excmo Excma Lic Arq sr sra srta sres dr dra ud uds lic arq prof av avda',
    beforeNumber: 'núm pág págs art cap fig tel',
    beforeSmall: 'etc a.C d.C EE.UU S.A',
  },
  it: {
    always:
      'Sig Sigg Sig.ra Sig.na Dott Dott.ssa Prof.ssa Avv Arch Geom Rag Egr Gent On sig sigg sig.ra sig.na dott dott.ssa prof prof.ssa avv arch geom rag ad.es es',
    beforeNumber: 'pag pagg art cap fig tel n',
    beforeSmall: 'ecc a.C d.C S.p.A S.r.l',
  },
  pt: {
    always:
      'Sr Sra Srs Srta Dra Profa Exmo Exma D sr sra srs srta dr dra prof profa p.ex ex Eng Av',
    beforeNumber: 'pág págs art cap fig tel n',
    beforeSmall: 'etc a.C d.C Ltda S.A',
  },
  nl: {
    always: 'dhr Dhr mevr Mevr mw Mw drs ir ing mr bijv bv b.v d.w.z o.a t.a.v m.b.t i.p.v ca blz',
    beforeNumber: 'nr art blz afb',
    beforeSmall: 'enz etc e.d',
  },
  pl: {
    always: 'p mgr inż hab dr prof św ks al ul pl płk gen np tj tzn tzw m.in wg por ok godz woj',
    beforeNumber: 'nr str art poz tab rys tel',
    beforeSmall: 'itd itp r w ww tys mln mld zł',
    ordinals: true,
  },
  ru: {
    always: 'г-н г-жа гг ул пл просп им св проф акад доц т.е т.к т.н напр см ср т.ч тов',
    beforeNumber: 'стр рис табл гл п ст д кв корп тел',
    beforeSmall: 'т.д т.п др пр г в вв руб коп тыс млн млрд',
  },
  el: {
    always: 'κ κα κος κυρ Δρ Καθ π.χ βλ δηλ',
    beforeNumber: 'σελ αρ τηλ',
    beforeSmall: 'κ.λπ κλπ κ.ά π.Χ μ.Χ',
  },
  tr: {
    always: 'Av Doç Yrd Öğr Gör Uzm Sn Hz Alb Yzb bkz örn Cad Sok Mah',
    beforeNumber: 's sf No',
    beforeSmall: 'vb vs vd',
    ordinals: true,
  },
  ar: { always: 'د أ م ص ا', beforeNumber: 'ص', beforeSmall: 'إلخ الخ' },
  hi: { always: 'डॉ श्री प्रो पं कु सुश्री ई', beforeNumber: 'सं पृ' },
  sv: { always: 't.ex bl.a d.v.s ca s.k', beforeNumber: 'nr s', beforeSmall: 'osv m.m' },
  da: {
    always: 'f.eks bl.a dvs ca hr fru',
    beforeNumber: 'nr s',
    beforeSmall: 'osv mv',
    ordinals: true,
  },
  nb: { always: 'f.eks bl.a dvs ca', beforeNumber: 'nr s', beforeSmall: 'osv mv', ordinals: true },
  fi: { always: 'esim ns mm', beforeNumber: 'nro s', beforeSmall: 'jne', ordinals: true },
  cs: {
    always: 'Ing Mgr Bc MUDr JUDr např tj tzv sv p pí',
    beforeNumber: 'č str',
    beforeSmall: 'atd apod',
    ordinals: true,
  },
  hu: {
    always: 'id ifj özv pl ill ún Kft',
    beforeNumber: 'sz',
    beforeSmall: 'stb',
    ordinals: true,
  },
  ...Object.fromEntries(['zh', 'ja', 'ko', 'th'].map((language) => [language, {}])),
};

/** Ordinary words of another language, too common to be taken for an abbreviation in a text of unknown language. */
const AMBIGUOUS = new Set(
  'On al p s w v n d ex est ok es id ill ns mm pl por mr ing ir Me D M'.split(' '),
);

const union = abbreviationsOf(
  [COMMON, ...Object.values(LANGUAGES)],
  (word) => !AMBIGUOUS.has(word),
);
const byLanguage = new Map(
  Object.entries(LANGUAGES).map(([language, entry]) => [
    language,
    abbreviationsOf([COMMON, entry], () => true),
  ]),
);

/** The abbreviations of a language (ISO 639-1 or BCP 47); those of all when it is unknown or left out. */
export function chooseAbbreviations(language: string | undefined): Abbreviations {
  const [base = ''] = (language ?? '').toLowerCase().split(/[-_]/);
  return byLanguage.get(base === 'no' || base === 'nn' ? 'nb' : base) ?? union;
}

function abbreviationsOf(entries: Entry[], takes: (word: string) => boolean): Abbreviations {
  const words = (key: 'always' | 'beforeNumber' | 'beforeSmall') =>
    new Set(entries.flatMap((entry) => entry[key]?.split(' ') ?? []).filter((word) => takes(word)));
  return {
    always: words('always'),
    beforeNumber: words('beforeNumber'),
    beforeSmall: words('beforeSmall'),
    ordinals: entries.some((entry) => entry.ordinals),
  };
}
