/* The innermost loops of map tasks, and of reading text, compiled.
 *
 * kernel.py says what each function is for, and has the same in Python; a package without this
 * module works alike, and slower. What is here does the plain cases, which are nearly all, and says
 * how far it came: whatever is unusual is left to the Python code, with its checks and messages. So
 * nothing is decided in two languages.
 *
 * No reference that is borrowed is used after code that may run Python: comparing keys may, where
 * a key that was put into the dict by the Python code is of a user's class.
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

/* sums[key] = sums.get(key, 0) + value. 1: done; 0: the sum there is of another kind, and nothing
 * was done; -1: an exception. */
static int
add_one(PyObject *sums, PyObject *key, PyObject *value)
{
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

/* groups[key].append(value), with a new list where there is none. 1: done; -1: an exception. */
static int
append_one(PyObject *groups, PyObject *key, PyObject *value)
{
    PyObject *values = PyDict_GetItemWithError(groups, key);
    if (values == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        values = PyList_New(1);
        if (values == NULL) {
            return -1;
        }
        Py_INCREF(value);
        PyList_SET_ITEM(values, 0, value);
        int failed = PyDict_SetItem(groups, key, values);
        Py_DECREF(values);
        return failed < 0 ? -1 : 1;
    }
    if (!PyList_CheckExact(values)) {
        return 0;
    }
    return PyList_Append(values, value) < 0 ? -1 : 1;
}

/* Take in a pair: 1; 0: it is not plain; -1: an exception. ``each`` stands for the value, where not
 * NULL, and an int is what the value has to be where ``sums`` is true. */
static int
take_one(PyObject *dict, PyObject *pair, PyObject *each, int sums)
{
    if (!is_plain_pair(pair)) {
        return 0;
    }
    PyObject *key = PyTuple_GET_ITEM(pair, 0);
    PyObject *value = each == NULL ? PyTuple_GET_ITEM(pair, 1) : each;
    if (!sums) {
        return append_one(dict, key, value);
    }
    return PyLong_CheckExact(value) ? add_one(dict, key, value) : 0;
}

/* Take in the pairs of an iterator, up to the first that is not plain, which is given in a tuple, or
 * to its end: their number. */
static PyObject *
take_from(PyObject *dict, PyObject *pairs, PyObject *each, int sums)
{
    Py_ssize_t done = 0;
    PyObject *pair;
    while ((pair = PyIter_Next(pairs)) != NULL) {
        int taken = take_one(dict, pair, each, sums);
        if (taken == 0) {
            PyObject *odd = PyTuple_Pack(1, pair);
            Py_DECREF(pair);
            return odd;
        }
        Py_DECREF(pair);
        if (taken < 0) {
            return NULL;
        }
        done++;
    }
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(done);
}

/* The same of a list, other than which nothing is looked at: None: all of it, else how many. */
static PyObject *
take_in(PyObject *dict, PyObject *pairs, PyObject *each, int sums)
{
    if (!PyList_CheckExact(pairs)) {
        return PyLong_FromLong(0);
    }
    Py_ssize_t done = 0;
    for (; done < PyList_GET_SIZE(pairs); done++) {
        PyObject *pair = PyList_GET_ITEM(pairs, done);
        Py_INCREF(pair);
        int taken = take_one(dict, pair, each, sums);
        Py_DECREF(pair);
        if (taken < 0) {
            return NULL;
        }
        if (!taken) {
            return PyLong_FromSsize_t(done);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
taken(PyObject *const *args, Py_ssize_t nargs, int sums,
      PyObject *(*take)(PyObject *, PyObject *, PyObject *, int))
{
    if (nargs != 2 && !(sums && nargs == 3)) {
        PyErr_SetString(PyExc_TypeError, "a dict and pairs are taken, and a number to add for each");
        return NULL;
    }
    if (!PyDict_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "pairs are taken into a dict");
        return NULL;
    }
    if (take == take_from && !PyIter_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "pairs are taken from an iterator");
        return NULL;
    }
    return take(args[0], args[1], nargs == 3 && args[2] != Py_None ? args[2] : NULL, sums);
}

PyDoc_STRVAR(add_pairs_doc,
"add_pairs(sums, pairs, each=None)\n--\n\nAdd the values of a list of pairs to the sums of their "
"keys, or each of that number.\n\nNone: all are; else the number of the first that is left to do, "
"with all that follow.");

static PyObject *
add_pairs(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return taken(args, nargs, 1, take_in);
}

PyDoc_STRVAR(append_pairs_doc,
"append_pairs(groups, pairs)\n--\n\nAppend the values of a list of pairs to the lists of their "
"keys.\n\nNone: all are; else the number of the first that is left to do, with all that follow.");

static PyObject *
append_pairs(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return taken(args, nargs, 0, take_in);
}

PyDoc_STRVAR(add_from_doc,
"add_from(sums, pairs, each=None)\n--\n\nThe same as add_pairs with an iterator.\n\n"
"It gives the number of pairs, or a tuple of the one that is left to do before all that follow.");

static PyObject *
add_from(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return taken(args, nargs, 1, take_from);
}

PyDoc_STRVAR(append_from_doc,
"append_from(groups, pairs)\n--\n\nThe same as append_pairs with an iterator.\n\n"
"It gives the number of pairs, or a tuple of the one that is left to do before all that follow.");

static PyObject *
append_from(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return taken(args, nargs, 0, take_from);
}

/* ------------------------------------------------------------------ the module */

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, name##_doc}

static PyMethodDef functions[] = {
    FAST(count_line_ends),
    {"lines_of", lines_of, METH_O, lines_of_doc},
    FAST(add_pairs),
    FAST(append_pairs),
    FAST(add_from),
    FAST(append_from),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

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
