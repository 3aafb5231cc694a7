/* The innermost loops of map tasks, and of reading text, compiled.
 *
 * kernel.py says what each function is for, and has the same in Python; a package without this
 * module works alike, and slower. What is here does the plain cases, which are nearly all, and says
 * how far it came: whatever is unusual is left to the Python code, with its checks and messages. So
 * nothing is decided in two languages.
 *
 * No reference that is borrowed is used after code that may run Python: comparing keys may, where
 * a key that was put into the dict by the Python code is of a user's class; and so may breathe().
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* ------------------------------------------------------------------ text */

/* A plain loop, which compilers make vector instructions of; the sum of a few thousand bytes is small
 * enough for narrow lanes. */
static Py_ssize_t
line_ends(const char *data, Py_ssize_t length)
{
    Py_ssize_t total = 0;
    while (length > 0) {
        Py_ssize_t some = length < 4080 ? length : 4080;
        unsigned int found = 0;
        for (Py_ssize_t at = 0; at < some; at++) {
            found += data[at] == '\n';
        }
        total += found;
        data += some;
        length -= some;
    }
    return total;
}

static int
is_ascii(const char *data, Py_ssize_t length)
{
    unsigned char all = 0;
    for (Py_ssize_t at = 0; at < length; at++) {
        all |= (unsigned char)data[at];
    }
    return all < 128;
}

PyDoc_STRVAR(count_line_ends_doc,
"count_line_ends(data, start, end)\n--\n\nHow many bytes of data[start:end] are line feeds.");

static PyObject *
count_line_ends(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "count_line_ends takes data, start and end");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t end = PyLong_AsSsize_t(args[2]);
    if (end == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_buffer data;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Py_ssize_t found = 0;
    if (start < 0 || start > end || end > data.len) {
        PyErr_SetString(PyExc_ValueError, "start and end are not within the data");
        found = -1;
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        found = line_ends((const char *)data.buf + start, end - start);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return found < 0 ? NULL : PyLong_FromSsize_t(found);
}

PyDoc_STRVAR(lines_of_doc,
"lines_of(data)\n--\n\nThe lines of UTF-8 text, without their ends, which are \\n or \\r\\n.\n\n"
"Raises UnicodeDecodeError, as data.decode() does.");

static PyObject *
line_from(const char *line, Py_ssize_t length, int ascii)
{
    if (!ascii && !is_ascii(line, length)) {
        return PyUnicode_DecodeUTF8(line, length, NULL);
    }
    PyObject *text = PyUnicode_New(length, 127);
    if (text != NULL) {
        memcpy(PyUnicode_1BYTE_DATA(text), line, (size_t)length);
    }
    return text;
}

static PyObject *
lines_of(PyObject *Py_UNUSED(module), PyObject *given)
{
    Py_buffer data;
    if (PyObject_GetBuffer(given, &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    const char *at = data.buf;
    const char *end = at + data.len;
    Py_ssize_t count = line_ends(at, data.len);
    if (data.len && end[-1] != '\n') {
        count++;
    }
    PyObject *lines = PyList_New(count);
    if (lines == NULL) {
        PyBuffer_Release(&data);
        return NULL;
    }
    int ascii = is_ascii(at, data.len);
    for (Py_ssize_t number = 0; number < count; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop == NULL ? end : stop + 1;
        Py_ssize_t length = (stop == NULL ? end : stop) - at;
        if (stop != NULL && length && at[length - 1] == '\r') {
            length--;
        }
        PyObject *text = line_from(at, length, ascii);
        if (text == NULL) {
            Py_CLEAR(lines);
            if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                /* Once more, as a whole: the error names a place in the data, not in a line. */
                PyErr_Clear();
                Py_XDECREF(PyUnicode_DecodeUTF8(data.buf, data.len, NULL));
            }
            break;
        }
        PyList_SET_ITEM(lines, number, text);
        at = next;
    }
    PyBuffer_Release(&data);
    return lines;
}

/* ------------------------------------------------------------------ pairs */

/* They take longer than the 5 ms after which a thread that waits for its turn asks for it; were the
 * lock let go more often, it would be woken each time, come too late, and never ask. */
#define PAIRS_PER_BREATH (1 << 19)

/* Whether a key is of a type whose values are their own form (keys.py), so that hashing it cannot
 * fail, and two that are equal are one key in every process. */
static int
is_plain(PyObject *key)
{
    return PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key);
}

static int
is_plain_key(PyObject *key)
{
    if (is_plain(key)) {
        return 1;
    }
    if (!PyTuple_CheckExact(key)) {
        return 0;
    }
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(key); at++) {
        if (!is_plain(PyTuple_GET_ITEM(key, at))) {
            return 0;
        }
    }
    return 1;
}

static int
is_plain_pair(PyObject *pair)
{
    return PyTuple_CheckExact(pair) && PyTuple_GET_SIZE(pair) == 2 &&
           is_plain_key(PyTuple_GET_ITEM(pair, 0));
}

/* As the interpreter's own loop does every so often: handlers of signals are called, and other threads
 * get a turn. -1: an exception, of a handler. */
static int
breathe(Py_ssize_t done)
{
    if (done % PAIRS_PER_BREATH) {
        return 0;
    }
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS
    Py_END_ALLOW_THREADS
    return 0;
}

/* How a pair is taken in: 1: it is; 0: it is not plain, and nothing was done; -1: an exception. */
typedef int (*Take)(PyObject *into, PyObject *also, PyObject *pair);

/* sums[key] = sums.get(key, 0) + value, or ``each`` in place of the value, where it is not NULL. */
static int
take_sum(PyObject *sums, PyObject *each, PyObject *pair)
{
    if (!is_plain_pair(pair)) {
        return 0;
    }
    PyObject *key = PyTuple_GET_ITEM(pair, 0);
    PyObject *value = each == NULL ? PyTuple_GET_ITEM(pair, 1) : each;
    if (!PyLong_CheckExact(value)) {
        return 0;
    }
    PyObject *sum = PyDict_GetItemWithError(sums, key);
    if (sum == NULL) {
        return PyErr_Occurred() || PyDict_SetItem(sums, key, value) < 0 ? -1 : 1;
    }
    if (!PyLong_CheckExact(sum)) {
        return 0;
    }
    PyObject *total = PyNumber_Add(sum, value);
    if (total == NULL) {
        return -1;
    }
    int failed = PyDict_SetItem(sums, key, total);
    Py_DECREF(total);
    return failed < 0 ? -1 : 1;
}

/* groups[key] = [values...], of which ``count`` are taken over from an array. -1: an exception. */
static int
set_list(PyObject *groups, PyObject *key, PyObject *const *values, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    if (list == NULL) {
        return -1;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_INCREF(values[at]);
        PyList_SET_ITEM(list, at, values[at]);
    }
    int failed = PyDict_SetItem(groups, key, list);
    Py_DECREF(list);
    return failed < 0 ? -1 : 0;
}

/* groups[key].append(value), with a new list where there is none. */
static int
take_group(PyObject *groups, PyObject *Py_UNUSED(also), PyObject *pair)
{
    if (!is_plain_pair(pair)) {
        return 0;
    }
    PyObject *key = PyTuple_GET_ITEM(pair, 0);
    PyObject *value = PyTuple_GET_ITEM(pair, 1);
    PyObject *list = PyDict_GetItemWithError(groups, key);
    if (list == NULL) {
        return PyErr_Occurred() || set_list(groups, key, &value, 1) < 0 ? -1 : 1;
    }
    if (!PyList_CheckExact(list)) {
        return 0;
    }
    return PyList_Append(list, value) < 0 ? -1 : 1;
}

/* keys.append(key), values.append(value); of keys any will do. */
static int
take_apart(PyObject *keys, PyObject *values, PyObject *pair)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) {
        return 0;
    }
    if (PyList_Append(keys, PyTuple_GET_ITEM(pair, 0)) < 0) {
        return -1;
    }
    return PyList_Append(values, PyTuple_GET_ITEM(pair, 1)) < 0 ? -1 : 1;
}

/* The pairs of an iterator, up to the first that is not plain, which is given in a tuple, or to its
 * end: their number. */
static PyObject *
take_from(PyObject *into, PyObject *also, PyObject *pairs, Take take)
{
    if (!PyIter_Check(pairs)) {
        PyErr_SetString(PyExc_TypeError, "pairs are taken from an iterator");
        return NULL;
    }
    Py_ssize_t done = 0;
    PyObject *pair;
    while ((pair = PyIter_Next(pairs)) != NULL) {
        int taken = take(into, also, pair);
        if (taken == 0) {
            PyObject *odd = PyTuple_Pack(1, pair);
            Py_DECREF(pair);
            return odd;
        }
        Py_DECREF(pair);
        if (taken < 0 || breathe(++done) < 0) {
            return NULL;
        }
    }
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(done);
}

/* The same of a list, other than which nothing is looked at: None: all of it, else how many. */
static PyObject *
take_in(PyObject *into, PyObject *also, PyObject *pairs, Take take)
{
    if (!PyList_CheckExact(pairs)) {
        return PyLong_FromLong(0);
    }
    Py_ssize_t done = 0;
    while (done < PyList_GET_SIZE(pairs)) {
        PyObject *pair = PyList_GET_ITEM(pairs, done);
        Py_INCREF(pair);
        int taken = take(into, also, pair);
        Py_DECREF(pair);
        if (taken == 0) {
            return PyLong_FromSsize_t(done);
        }
        if (taken < 0 || breathe(++done) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

typedef PyObject *(*TakeAll)(PyObject *into, PyObject *also, PyObject *pairs, Take take);

static int
has_arguments(Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most)
{
    if (nargs < least || nargs > most) {
        PyErr_Format(PyExc_TypeError, "%zd to %zd arguments are taken, not %zd", least, most, nargs);
        return 0;
    }
    return 1;
}

static int
is_dict(PyObject *given)
{
    if (!PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "pairs are taken into a dict");
        return 0;
    }
    return 1;
}

static int
are_lists(PyObject *const *given, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++) {
        if (!PyList_CheckExact(given[at])) {
            PyErr_SetString(PyExc_TypeError, "what is taken apart, or put together, are lists");
            return 0;
        }
    }
    return 1;
}

static PyObject *
add(PyObject *const *args, Py_ssize_t nargs, TakeAll take_all)
{
    if (!has_arguments(nargs, 2, 3) || !is_dict(args[0])) {
        return NULL;
    }
    PyObject *each = nargs == 3 && args[2] != Py_None ? args[2] : NULL;
    return take_all(args[0], each, args[1], take_sum);
}

static PyObject *
append(PyObject *const *args, Py_ssize_t nargs, TakeAll take_all)
{
    if (!has_arguments(nargs, 2, 2) || !is_dict(args[0])) {
        return NULL;
    }
    return take_all(args[0], NULL, args[1], take_group);
}

static PyObject *
part(PyObject *const *args, Py_ssize_t nargs, TakeAll take_all)
{
    if (!has_arguments(nargs, 3, 3) || !are_lists(args, 2)) {
        return NULL;
    }
    return take_all(args[0], args[1], args[2], take_apart);
}

#define OF_A_LIST "\n\nNone: all are; else the number of the first that is left to do, with all " \
    "that follow."
#define OF_AN_ITERATOR "\n\nThe number of pairs, or a tuple of the one that is left to do before " \
    "all that follow."

#define TAKING(name, how, take_all, arguments, text) \
    PyDoc_STRVAR(name##_doc, #name arguments "\n--\n\n" text); \
    static PyObject * \
    name(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) \
    { \
        return how(args, nargs, take_all); \
    }

TAKING(add_pairs, add, take_in, "(sums, pairs, each=None)",
       "Add the values of a list of pairs to the sums of their keys, or each of that number."
       OF_A_LIST)
TAKING(add_from, add, take_from, "(sums, pairs, each=None)",
       "Add the values of an iterator of pairs to the sums of their keys, or each of that number."
       OF_AN_ITERATOR)
TAKING(append_pairs, append, take_in, "(groups, pairs)",
       "Append the values of a list of pairs to the lists of their keys." OF_A_LIST)
TAKING(append_from, append, take_from, "(groups, pairs)",
       "Append the values of an iterator of pairs to the lists of their keys." OF_AN_ITERATOR)
TAKING(part_pairs, part, take_in, "(keys, values, pairs)",
       "Append the keys and the values of a list of pairs to a list each." OF_A_LIST)
TAKING(part_from, part, take_from, "(keys, values, pairs)",
       "Append the keys and the values of an iterator of pairs to a list each." OF_AN_ITERATOR)

/* ------------------------------------------------------------------ groups */

static PyObject *
do_not_belong_together(void)
{
    PyErr_SetString(PyExc_ValueError, "lists that belong together are not of equal length");
    return NULL;
}

PyDoc_STRVAR(deal_out_doc,
"deal_out(keys, held, prime, hands_of_keys, hands_of_held)\n--\n\nAppend each key, and what is held "
"of it, to the lists of its partition, of which there are as many as hands: hash((key,)) % prime % "
"partitions.\n\nNone: all are; else the number of the first key that is left to do, with all that "
"follow.");

static PyObject *
deal_out(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (!has_arguments(nargs, 5, 5) || !are_lists(args, 2) || !are_lists(args + 3, 2)) {
        return NULL;
    }
    PyObject *keys = args[0], *held = args[1], *key_hands = args[3], *held_hands = args[4];
    Py_ssize_t prime = PyLong_AsSsize_t(args[2]);
    if (prime == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t partitions = PyList_GET_SIZE(key_hands);
    if (prime < 1 || partitions < 1 || PyList_GET_SIZE(held_hands) != partitions ||
        PyList_GET_SIZE(keys) != PyList_GET_SIZE(held)) {
        return do_not_belong_together();
    }
    for (Py_ssize_t at = 0; at < partitions; at++) {
        PyObject *hands[2] = {PyList_GET_ITEM(key_hands, at), PyList_GET_ITEM(held_hands, at)};
        if (!are_lists(hands, 2)) {
            return NULL;
        }
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(keys); at++) {
        PyObject *key = PyList_GET_ITEM(keys, at);
        if (!is_plain_key(key)) {
            return PyLong_FromSsize_t(at);
        }
        PyObject *mixed = PyTuple_Pack(1, key);
        if (mixed == NULL) {
            return NULL;
        }
        Py_hash_t hashed = PyObject_Hash(mixed);
        Py_DECREF(mixed);
        if (hashed == -1) {
            return NULL;
        }
        Py_ssize_t home = (Py_ssize_t)(hashed % prime);
        home = (home < 0 ? home + prime : home) % partitions;
        if (PyList_Append(PyList_GET_ITEM(key_hands, home), key) < 0 ||
            PyList_Append(PyList_GET_ITEM(held_hands, home), PyList_GET_ITEM(held, at)) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(extend_lists_doc,
"extend_lists(groups, keys, counts, values)\n--\n\nAppend values to the lists of keys: counts[i] of "
"them, one after another, to that of keys[i]; one each, where counts is None.\n\n"
"None: all are; else the number of the first key that is left to do, with all that follow.");

static PyObject *
extend_lists(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (!has_arguments(nargs, 4, 4) || !is_dict(args[0]) || !are_lists(args + 1, 1) ||
        !are_lists(args + 3, 1)) {
        return NULL;
    }
    PyObject *groups = args[0], *keys = args[1], *values = args[3];
    PyObject *counts = args[2] == Py_None ? NULL : args[2];
    if (counts != NULL && !are_lists(&counts, 1)) {
        return NULL;
    }
    Py_ssize_t first = 0, at = 0;
    for (; at < PyList_GET_SIZE(keys); at++) {
        Py_ssize_t count = 1;
        if (counts != NULL) {
            count = at < PyList_GET_SIZE(counts)
                        ? PyLong_AsSsize_t(PyList_GET_ITEM(counts, at)) : -1;
            if (count == -1 && PyErr_Occurred()) {
                return NULL;
            }
        }
        PyObject *key = PyList_GET_ITEM(keys, at);
        if (!is_plain_key(key)) {
            return PyLong_FromSsize_t(at);
        }
        PyObject *list = PyDict_GetItemWithError(groups, key);
        if (list == NULL && PyErr_Occurred()) {
            return NULL;
        }
        if (list != NULL && !PyList_CheckExact(list)) {
            return PyLong_FromSsize_t(at);
        }
        if (count < 0 || count > PyList_GET_SIZE(values) - first) {
            return do_not_belong_together();
        }
        PyObject **some = ((PyListObject *)values)->ob_item + first;
        if (list == NULL) {
            if (set_list(groups, key, some, count) < 0) {
                return NULL;
            }
        }
        for (Py_ssize_t of = 0; list != NULL && of < count; of++) {
            if (PyList_Append(list, some[of]) < 0) {
                return NULL;
            }
        }
        first += count;
    }
    if (first != PyList_GET_SIZE(values) || (counts != NULL && PyList_GET_SIZE(counts) != at)) {
        return do_not_belong_together();
    }
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ the module */

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, name##_doc}

static PyMethodDef functions[] = {
    FAST(count_line_ends),
    {"lines_of", lines_of, METH_O, lines_of_doc},
    FAST(add_pairs),
    FAST(add_from),
    FAST(append_pairs),
    FAST(append_from),
    FAST(part_pairs),
    FAST(part_from),
    FAST(deal_out),
    FAST(extend_lists),
    {NULL, NULL, 0, NULL},
};

/* To be raised with what these functions take and give; kernel.py has no use for another. */
#define VERSION 1

static int
add_version(PyObject *made)
{
    return PyModule_AddIntConstant(made, "VERSION", VERSION);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_version}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "map_reduce._kernel",
    .m_doc = "The innermost loops, compiled; see kernel.py.",
    .m_size = 0,
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__kernel(void)
{
    return PyModuleDef_Init(&module);
}
