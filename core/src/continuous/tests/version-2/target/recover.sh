#!/bin/sh
# Restores any snapshot of this repository without the program that made it. See RECOVER.md.
# Version 2. Where there are several, recover-2.sh and the like, each restores what was made before it as well.
# Needs a POSIX sh with its usual tools, tar and zstd, and age for an encrypted repository; uses b3sum when it is there.
set -u
LC_ALL=C
export LC_ALL
umask 077

usage() {
    cat >&2 <<'END'
sh recover.sh list
sh recover.sh restore SNAPSHOT FOLDER [--identity FILE]

SNAPSHOT is what `list` prints, the beginning of it, or `latest`. FOLDER must be missing or empty.
FILE holds the operator's age identity. Without it age asks for the passphrase that the keys are wrapped to.
TMPDIR says where the packs are unpacked; beside FOLDER otherwise.
END
    exit 2
}
fail() {
    echo "recover.sh: $*" >&2
    exit 2
}
problems=0
problem() {
    problems=$((problems + 1))
    echo "recover.sh: $*" >&2
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 2
act=${1-}
case $act in
list) [ $# -eq 1 ] || usage ;;
restore) [ $# -ge 3 ] || usage ;;
*) usage ;;
esac

if [ "$act" = list ]; then
    set -- "$here"/snapshots/*_*
    [ -f "$1" ] || fail "there is no snapshot in $here"
    exec awk '
        FNR == 1 { if (good) print line(); good = $1 == "uplifted-ops" && $2 == "snapshot"; split("", is) }
        { is[$1] = $2 }
        function line() {
            return sprintf("%s  %-30s %-8s %10s files %15s bytes  %s on %s %s", is["snapshot"], is["time"], is["outcome"],
                is["files"], is["bytes"], is["service"], is["host"], is["label"])
        }
        END { if (good) print line() }
    ' "$@"
fi

snapshot=$2
into=$3
identity=
shift 3
while [ $# -gt 0 ]; do
    case $1 in
    --identity) [ $# -ge 2 ] || usage; identity=$2; shift 2 ;;
    *) usage ;;
    esac
done
case $identity in
'' | /*) ;;
*) identity=$PWD/$identity ;;
esac
[ -z "$identity" ] || [ -r "$identity" ] || fail "$identity is no file that can be read: name the file with the age identity"
for tool in tar zstd awk dd split xargs; do
    command -v "$tool" >/dev/null || fail "this needs $tool: install it"
done

# The header.
header=
found=0
for one in "$here"/snapshots/*_*; do
    [ -f "$one" ] || continue
    case ${one##*_} in
    "$snapshot"*) header=$one; found=$((found + 1)) ;;
    *) [ "$snapshot" != latest ] || found=1 ;;
    esac
done
[ "$found" -gt 0 ] || fail "there is no snapshot $snapshot; see: sh recover.sh list"
# By the time in the header, since several may be of one second.
[ "$snapshot" != latest ] || header=$(awk '
    FNR == 1 { good = $1 == "uplifted-ops" && $2 == "snapshot" }
    good && $1 == "time" { sub(/Z$/, "", $2); if (($2 "") > (newest "")) { newest = $2; file = FILENAME } }
    END { print file }
' "$here"/snapshots/*_*)
[ -n "$header" ] || fail "there is no snapshot that can be read; see: sh recover.sh list"
[ "$found" -eq 1 ] || fail "$found snapshots begin with $snapshot: write more of it"
read -r product kind version <"$header"
[ "$product $kind" = "uplifted-ops snapshot" ] || fail "$header is no header of a snapshot"
[ "$version" = 1 ] || fail "$header has version $version, and this script knows version 1"
case $(tail -n 1 "$header") in mac\ *) ;; *) fail "$header is cut off: use another snapshot" ;; esac

# Where it goes, and where the packs are unpacked.
if [ -e "$into" ] && [ -n "$(ls -A -- "$into" 2>&1)" ]; then fail "$into is not an empty folder"; fi
mkdir -p -- "$into" || exit 2
into=$(CDPATH='' cd -- "$into" && pwd) || exit 2
work=$(mktemp -d "${TMPDIR:-$(dirname -- "$into")}/recover.XXXXXX") && work=$(CDPATH='' cd -- "$work" && pwd) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
mkdir "$work/blobs" && cd "$work/blobs" || exit 2

b3sum=
if command -v b3sum >/dev/null; then b3sum=1; else echo "recover.sh: without b3sum only zstd's checksums are checked" >&2; fi
digest_of() { b3sum --no-names <"$1"; }

awk '$1 == "pack"' "$header" >"$work/packs"

# The keys that the packs are encrypted to, unwrapped: $work/key-FINGERPRINT.
unwrapped() {
    # A key that was unwrapped by hand needs no other.
    [ -n "$identity" ] && grep -q "^# fingerprint: $1\$" "$identity" && cp "$identity" "$work/key-$1" && return
    : >"$work/said"
    for wrapped in "$here/keys/$1"-*.age; do
        [ -f "$wrapped" ] || continue
        # Without an identity age asks for the passphrase, on the terminal.
        age -d ${identity:+-i "$identity"} -o "$work/key" "$wrapped" </dev/null 2>>"$work/said" || continue
        grep -q "^# fingerprint: $1\$" "$work/key" && mv "$work/key" "$work/key-$1" && return
        echo "$wrapped holds another key" >>"$work/said"
    done
    [ -s "$work/said" ] || echo "there is no $here/keys/$1-1.age: look for one in another copy of the backups" >>"$work/said"
    cat "$work/said" >&2
    return 1
}
awk '$5 != "clear" && !seen[$5]++ { print $5 }' "$work/packs" >"$work/keys"
if [ -s "$work/keys" ]; then
    command -v age >/dev/null || fail "the repository is encrypted: install age"
    closed=0
    while read -r key; do
        unwrapped "$key" && continue
        closed=$((closed + 1))
        packs=$(awk -v key="$key" '$5 == key' "$work/packs" | wc -l)
        problem "the key $key was not opened: what is in $((packs)) packs is lost without it"
    done <"$work/keys"
    [ "$closed" -lt "$(($(wc -l <"$work/keys")))" ] ||
        fail "nothing can be decrypted: name the file with the identity of a recipient, --identity FILE, or type the passphrase"
fi
# What a pack is before encryption.
opened() {
    if [ "$2" = clear ]; then cat "$1"; else age -d -i "$work/key-$2" "$1"; fi
}

total=$(awk 'END { print NR }' "$work/packs")
number=0
while read -r _ id bytes digest key; do
    number=$((number + 1))
    [ "$key" = clear ] || [ -f "$work/key-$key" ] || continue
    echo "pack $number of $total" >&2
    pack=$here/packs/$id.tar.zst
    [ "$key" = clear ] || pack=$pack.age
    if [ ! -f "$pack" ]; then
        problem "pack $id is missing"
        continue
    fi
    size=$(wc -c <"$pack")
    if [ $((size)) -ne "$bytes" ]; then
        problem "pack $id has $((size)) bytes, not $bytes"
    elif [ -n "$b3sum" ] && [ "$(digest_of "$pack")" != "$digest" ]; then
        problem "pack $id is damaged"
    fi
    opened "$pack" "$key" | zstd -dcq | tar -xf - -C "$work" || problem "pack $id does not unpack: some of it is lost"
done <"$work/packs"

# The record that a blob stands for: itself, or the pieces that it names.
record() {
    [ -f "$1" ] || return 1
    read -r product kind version <"$1"
    if [ "$product $kind" != "uplifted-ops pieces" ]; then
        cat "$1"
        return
    fi
    awk '$1 == "piece" { print $2 }' "$1" >"$work/pieces"
    while read -r piece; do
        cat "$piece" || return 1
    done <"$work/pieces"
}

root=$(awk '$1 == "root" { print $2 }' "$header")
record "$root" >"$work/root" || fail "the root of the snapshot's tree is lost: use another snapshot"
: >"$work/tree"
while read -r word id count _; do
    [ "$word" = block ] || continue
    record "$id" >>"$work/tree" || problem "$count entries are lost with a block of the tree"
done <"$work/root"

# What each blob is, in few calls: its digest, or its length where there is no b3sum.
if [ -n "$b3sum" ]; then ls | xargs b3sum >"$work/sums"; else ls | xargs wc -c >"$work/sums"; fi

# The tree as calls of the functions below: folders, content, links, and what folders get at the end.
if [ "$(id -u)" -eq 0 ]; then owners=1; else owners=0; fi
cat >"$work/tree.awk" <<'AWK'
BEGIN {
    out = ENVIRON["work"]
    owners = ENVIRON["owners"]
    digests = ENVIRON["b3sum"]
    while ((getline sum < (out "/sums")) > 0) {
        split(sum, field, " ")
        known[field[2]] = field[1]
    }
    for (i = 1; i < 256; i++) byte[sprintf("%02X", i)] = sprintf("%c", i)
    folders = out "/folders"; files = out "/files"; links = out "/links"; last = out "/last"
    printf "" > folders; printf "" > files; printf "" > links; printf "" > last
}
function die(why) {
    print "recover.sh: " why " at line " NR " of the tree" > "/dev/stderr"
    failed = 1
    exit 1
}
function decoded(field,   text, at) {
    if (field == "%") return ""
    while ((at = index(field, "%")) > 0) {
        if (!(substr(field, at + 1, 2) in byte)) die("an impossible name")
        text = text substr(field, 1, at - 1) byte[substr(field, at + 1, 2)]
        field = substr(field, at + 3)
    }
    return text field
}
function quoted(text) {
    gsub(/'/, "'\\''", text)
    return "'" text "'"
}
# A name that stays below the folder. Notes the folders above it, and makes those that nobody listed.
function named(field,   text, parts, count, i, above) {
    text = decoded(field)
    count = split(text, parts, "/")
    if (count == 0) die("an empty name")
    for (i = 1; i <= count; i++) {
        if (parts[i] == "" || parts[i] == "." || parts[i] == "..") die("a name that leads elsewhere")
        if (i == count) break
        above = i == 1 ? parts[1] : above "/" parts[i]
        if (!(above in folder)) { folder[above] = 1; print "m " quoted(above) > folders }
    }
    return text
}
function attributes(name, mode, uid, gid, time,   special) {
    special = length(mode) > 3 ? substr(mode, 1, length(mode) - 3) : 0
    # Set-id bits only with the owner whose rights they lend.
    if (!owners) mode = (special % 2) substr("000" mode, length(mode) + 1)
    mode_of = mode
    return quoted(name) " " mode " " time " " (owners ? uid ":" gid : "")
}
# The umask under which a new file has this mode; "-" when there is none.
function mask(mode,   i, bits, text) {
    for (i = 1; i <= length(mode); i++) {
        bits = substr(mode, i, 1)
        if (i + 3 <= length(mode) ? bits > 0 : bits % 2) return "-"
        if (i + 3 > length(mode)) text = text (6 - bits)
    }
    return text
}
# Ends the entry before.
function flush(   i, from, wanted) {
    if (kind == "") return
    kind = ""
    # Nearly all files are one blob, whose digest is known already: they cost few calls of programs.
    if (blobs <= 1 && !parts && (blobs || size == 0)) {
        wanted = blobs ? (digests ? digest : size) : ""
        if (!blobs) print "c - - " about > files
        else if (!(only in known)) print "b " quoted(name) " \"a part of it is lost\"" > files
        else if ((known[only] "") != (wanted "")) print "b " quoted(name) " \"its content is not what it was\"" > files
        else print "c " only " " mask(mode_of) " " about > files
        return
    }
    print "n " quoted(name) > files
    printf "%s", gathered > files
    if (parts) {
        print "s " quoted(name) " " size > files
        from = 0
        for (i = 1; i <= parts; i++) {
            print "d " quoted(name) " " offset[i] " " part[i] " " sprintf("%.0f", from) > files
            from += part[i]
        }
    } else if (!blobs) print "s " quoted(name) " " size > files
    print "e " digest " " size " " about > files
}
function content(first,   i, line) {
    line = (blobs ? "a " : "w ")
    for (i = first; i <= NF; i++) line = line " " $i
    gathered = gathered line "\n"
    only = $first
    blobs += NF - first + 1
}
$1 == "uplifted-ops" {
    if ($2 != "tree" || $3 != 1) die("something else than a tree of version 1")
    next
}
$1 == "+" { content(2); next }
$1 == "=" { parts++; offset[parts] = $2; part[parts] = $3; next }
$1 == "x" { attributes_lost++; next }
{
    flush()
    name = named($6)
    if ($1 != "d") {
        if (name in leaf) die("a name that is there twice")
        leaf[name] = 1
    }
    about = attributes(name, $2, $3, $4, $5)
}
$1 == "d" {
    if (!(name in folder)) { folder[name] = 1; print "m " quoted(name) > folders }
    depth = split(name, ignored, "/")
    if (depth > deepest) deepest = depth
    at[depth] = at[depth] "t " about "\n"
    next
}
$1 == "f" {
    kind = "f"; size = $7; digest = $8; blobs = 0; parts = 0; gathered = ""
    content(9)
    next
}
$1 == "p" {
    print "n " quoted(name) > files
    print "p " $9 > files
    print "e - " $7 " " about > files
    next
}
$1 == "l" { print "l " quoted(decoded($7)) " " about > links; next }
$1 == "h" { print "h " quoted(named($7)) " " quoted(name) > links; next }
$1 == "i" { print "i " about > links; next }
{ die("an entry of an unknown kind") }
END {
    if (failed) exit 1
    flush()
    for (name in leaf) if (name in folder) die("a name below something that is no folder")
    for (; deepest > 0; deepest--) printf "%s", at[deepest] > last
    if (attributes_lost) print "recover.sh: " attributes_lost " extended attributes are not restored" > "/dev/stderr"
}
AWK
work=$work owners=$owners b3sum=$b3sum awk -f "$work/tree.awk" "$work/tree" ||
    fail "nothing was restored: do not trust this repository"

# Which form of a time this touch takes: nanoseconds, or seconds alone.
: >"$work/probe"
if touch -d @1.000000005 "$work/probe" 2>/dev/null; then fraction=1; else fraction=; fi
stamp() { # options, time, path
    if [ -n "$fraction" ]; then
        touch $1 -d "@$2" "$3"
        return
    fi
    case $2 in
    -*.000000000 | [!-]*) touch $1 -d "@${2%.*}" "$3" ;;
    *) stamp_whole=${2%.*}; touch $1 -d "@$((stamp_whole - 1))" "$3" ;;
    esac
}

# A file of one blob, or of none: blob, umask that gives it its mode, name, mode, time, owner.
c() {
    mode=$4
    if [ "$2" != - ]; then umask "$2"; mode=; fi
    if [ "$1" = - ]; then : >"$into/$3"; else cat "$1" >"$into/$3"; fi || fail "cannot write $3"
    umask 077
    t "$3" "$mode" "$5" "${6-}"
}
# A file that is not restored, and why.
b() { problem "$1: $2"; }
# A folder.
m() { mkdir -p "$into/$1" || fail "cannot make the folder $1"; }
# A file begins: its content is gathered under a name of our own.
n() {
    name=$1
    bad=
    : >"$work/file"
}
# Blobs: the first, and more.
w() { [ $# -eq 0 ] || cat "$@" >"$work/file" 2>/dev/null || bad=1; }
a() { [ $# -eq 0 ] || cat "$@" >>"$work/file" 2>/dev/null || bad=1; }
# The content is only the data of a sparse file of so many bytes.
s() {
    mv "$work/file" "$work/data"
    dd if=/dev/null of="$work/file" bs=1 seek="$2" count=0 2>/dev/null || bad=1
}
# A part of it: offset, length, and where it is in the data.
d() {
    block=512
    [ $(($2 % 512 + $4 % 512)) -eq 0 ] || block=1
    dd if="$work/data" of="$work/file" bs=$block seek=$(($2 / block)) skip=$(($4 / block)) \
        count=$((($3 + block - 1) / block)) conv=notrunc 2>/dev/null || bad=1
}
# A database, put together by its page map and the maps below that one.
p() {
    map=$1
    level=0
    while [ -n "$map" ] && [ -z "$bad" ]; do
        level=$((level + 1))
        { record "$map" >"$work/map-$level" && [ "$level" -le 20 ]; } || bad=1
        map=$(awk '$1 == "base" { print $2; exit }' "$work/map-$level")
    done
    [ -n "$bad" ] || merge >"$work/parts" || bad=1
    [ -z "$bad" ] || return 0
    # Of a blob that is used in part each unit becomes a file, so that a few calls of cat do what else takes one of dd
    # for each run: a database that was changed here and there for months has hundreds of thousands.
    rm -rf "$work/units" && mkdir "$work/units" || bad=1
    while read -r blob unit; do
        mkdir "$work/units/$blob" && split -b "$unit" "$blob" "$work/units/$blob/" || bad=1
    done <"$work/cut"
    [ -n "$bad" ] || [ ! -s "$work/parts" ] || xargs cat <"$work/parts" >"$work/file" || bad=1
    rm -rf "$work/units"
}
# What the file consists of in its order, by all maps together: blobs, and units of blobs that are to be cut.
merge() {
    merge_level=$level
    while [ "$merge_level" -gt 0 ]; do
        cat "$work/map-$merge_level" || return 1
        merge_level=$((merge_level - 1))
    done | awk -v cut="$work/cut" '
        BEGIN { known = 0; letters = "abcdefghijklmnopqrstuvwxyz"; printf "" > cut }
        $1 == "uplifted-ops" { if ($2 != "pages" || $3 != 1) exit 1; shift_by = known; next }
        $1 == "unit" { if (unit && unit != $2) exit 1; unit = $2; next }
        # Units that have not the same length in both files are never taken from below.
        $1 == "length" {
            if (length_before != "" && length_before != $2) {
                least = $2 + 0 < length_before + 0 ? $2 : length_before
                for (u = int(least / unit); u < units; u++) delete where[u]
            }
            length_before = $2
            units = int(($2 + unit - 1) / unit)
            next
        }
        $1 == "data" { blob[known] = $2; units_of[known++] = $3; next }
        $1 == "run" {
            if ($4 + shift_by >= known) exit 1
            for (i = 0; i < $3; i++) where[$2 + i] = ($4 + shift_by) * 1024 + $5 + i
            next
        }
        END {
            start = 0
            for (u = 1; u <= units; u++) {
                if (!((u - 1) in where)) exit 1
                if (u < units && (u in where) && where[u] == where[u - 1] + 1 && where[u] % 1024 > 0) continue
                from = where[start]
                id = blob[int(from / 1024)]
                if (u - start == units_of[int(from / 1024)]) print id
                else {
                    if (!(id in cuts)) { cuts[id] = 1; print id, unit > cut }
                    for (i = from % 1024; i < from % 1024 + u - start; i++)
                        print "../units/" id "/" substr(letters, int(i / 26) + 1, 1) substr(letters, i % 26 + 1, 1)
                }
                start = u
            }
        }'
}
# The file ends: digest, size, name, mode, time, owner.
e() {
    if [ -n "$bad" ]; then
        problem "$name: a part of it is lost"
        return
    fi
    if [ "$1" != - ] && [ -n "$b3sum" ]; then
        [ "$(digest_of "$work/file")" = "$1" ] || bad=1
    else
        written=$(wc -c <"$work/file")
        [ $((written)) -eq "$2" ] || bad=1
    fi
    if [ -n "$bad" ]; then
        problem "$name: its content is not what it was"
        return
    fi
    mv "$work/file" "$into/$3" || fail "cannot write $3"
    t "$3" "$4" "$5" "${6-}"
}
# What a node gets: mode, or none when it has it; time, owner.
t() {
    [ -z "${4-}" ] || chown "$4" "$into/$1" || problem "$1: its owner was not restored"
    { [ -z "$2" ] || chmod "$2" "$into/$1"; } && stamp "" "$3" "$into/$1" || problem "$1: its mode or time was not restored"
}
# A symbolic link: target, name, mode, time, owner.
l() {
    ln -s -- "$1" "$into/$2" || problem "$2 was not made"
    [ -z "${5-}" ] || chown -h "$5" "$into/$2" || problem "$2: its owner was not restored"
    stamp -h "$4" "$into/$2" || problem "$2: its time was not restored"
}
# Another name of a file.
h() { ln -- "$into/$1" "$into/$2" || problem "$2 was not made: it is another name of $1"; }
# A named pipe.
i() { if mkfifo "$into/$1"; then t "$@"; else problem "$1 was not made"; fi; }

echo "files" >&2
umask 022
. "$work/folders"
umask 077
. "$work/files"
. "$work/links"
. "$work/last"

if [ "$problems" -gt 0 ]; then
    echo "recover.sh: restored into $into, but for $problems problems" >&2
    exit 1
fi
echo "restored into $into" >&2
