/* k-means (Lloyd 1982), one iteration in each step.
 *
 * The initial model is a CSV table: its header names the columns of the data that count, and each of its rows is the
 * centre of a cluster. Distances are measured after every column was divided by its standard deviation in the data. The
 * result is the same table with the centres that were found. */
#include "../../../guest-sdk/c/fedmkt.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256, MOST_LINE = 16384 };

/* A table of finite numbers, row by row. */
struct table {
    char names[MOST_LINE];
    char *columns[MOST_COLUMNS];
    int width;
    size_t rows, room;
    double *values;
};

static struct table centres, data;
static double deviations[MOST_COLUMNS];
static int *clusters;
static long most_steps = 100;

/* Parts a line at its commas, in place. */
static int split(char *line, char **fields) {
    int count = 0;
    line[strcspn(line, "\r\n")] = 0;
    for (char *field = line; field && count < MOST_COLUMNS; count++) {
        fields[count] = field;
        field = strchr(field, ',');
        if (field) {
            *field++ = 0;
        }
    }
    return count;
}

/* Reads a line; -1 at the end, 0 when it is too long. */
static int read_line(FILE *file, char *line) {
    if (!fgets(line, MOST_LINE, file)) {
        return -1;
    }
    return strchr(line, '\n') != NULL || feof(file);
}

static int number(const char *field, double *value) {
    char *end;
    *value = strtod(field, &end);
    return end != field && *end == 0 && isfinite(*value);
}

/* Reads the columns `wanted` of a table, or all if there are none; answers `bad` when it cannot. */
static enum fedmkt_status read_table(const char *path, const struct table *wanted, struct table *table,
                                     enum fedmkt_status bad) {
    static char line[MOST_LINE], names[MOST_LINE];
    char *header[MOST_COLUMNS], *fields[MOST_COLUMNS];
    int from[MOST_COLUMNS];
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        return bad;
    }
    if (read_line(file, names) != 1) {
        fprintf(stderr, "%s has no header\n", path);
        return bad;
    }
    memcpy(table->names, names, sizeof names);
    int width = split(names, header);
    if (width == MOST_COLUMNS) {
        fprintf(stderr, "%s has %d columns or more\n", path, MOST_COLUMNS);
        return bad;
    }
    table->width = wanted ? wanted->width : split(table->names, table->columns);
    for (int column = 0; column < table->width; column++) {
        from[column] = wanted ? -1 : column;
        for (int other = 0; wanted && other < width; other++) {
            if (strcmp(wanted->columns[column], header[other]) == 0) {
                from[column] = other;
            }
        }
        if (from[column] < 0) {
            fprintf(stderr, "%s has no column \"%s\"\n", path, wanted->columns[column]);
            return bad;
        }
    }
    int read;
    while ((read = read_line(file, line)) >= 0) {
        if (line[strspn(line, "\r\n")] == 0) {
            continue; /* An empty line is no row. */
        }
        unsigned long row = table->rows + 1;
        int found = read ? split(line, fields) : 0;
        if (found != width) {
            fprintf(stderr, "%s, row %lu: %d fields, but the header has %d\n", path, row, found, width);
            return bad;
        }
        if (table->rows == table->room) {
            table->room = table->room ? 2 * table->room : 64;
            table->values = realloc(table->values, table->room * table->width * sizeof(double));
            if (!table->values) {
                fprintf(stderr, "%s does not fit into memory\n", path);
                return FEDMKT_FAILED;
            }
        }
        for (int column = 0; column < table->width; column++) {
            const char *field = fields[from[column]];
            if (!number(field, &table->values[table->rows * table->width + column])) {
                fprintf(stderr, "%s, row %lu, column \"%s\": a finite number is needed, not \"%.40s\"\n", path, row,
                        header[from[column]], field);
                return bad;
            }
        }
        table->rows++;
    }
    if (ferror(file)) {
        perror(path);
        return bad;
    }
    fclose(file);
    return FEDMKT_MORE;
}

static enum fedmkt_status trainer_start(int argc, char **argv) {
    for (int index = 1; index < argc; index++) {
        char *end = NULL;
        if (strncmp(argv[index], "steps=", 6) == 0) {
            most_steps = strtol(argv[index] + 6, &end, 10);
        }
        if (!end || *end || most_steps < 1) {
            fprintf(stderr, "argument \"%s\": expected steps=NUMBER\n", argv[index]);
            return FEDMKT_FAILED;
        }
    }
    enum fedmkt_status status = read_table("/job/model", NULL, &centres, FEDMKT_FAILED);
    if (status == FEDMKT_MORE) {
        status = read_table("/data/data.csv", &centres, &data, FEDMKT_REFUSED);
    }
    if (status != FEDMKT_MORE) {
        return status;
    }
    if (centres.rows == 0) {
        fprintf(stderr, "/job/model has no centres\n");
        return FEDMKT_FAILED;
    }
    if (data.rows < centres.rows) {
        fprintf(stderr, "/data/data.csv has %lu rows, %lu are needed\n", (unsigned long)data.rows,
                (unsigned long)centres.rows);
        return FEDMKT_REFUSED;
    }
    for (int column = 0; column < data.width; column++) {
        double mean = 0, square = 0, first = data.values[column];
        size_t same = 0;
        for (size_t row = 0; row < data.rows; row++) {
            mean += data.values[row * data.width + column];
            same += data.values[row * data.width + column] == first;
        }
        /* A mean of equal values may be rounded to another one. */
        mean = same == data.rows ? first : mean / data.rows;
        for (size_t row = 0; row < data.rows; row++) {
            double difference = data.values[row * data.width + column] - mean;
            square += difference * difference;
        }
        /* A column that is always the same parts nothing. */
        deviations[column] = square > 0 ? sqrt(square / data.rows) : 1;
    }
    clusters = malloc(data.rows * sizeof *clusters);
    if (!clusters) {
        return FEDMKT_FAILED;
    }
    memset(clusters, -1, data.rows * sizeof *clusters);
    return FEDMKT_MORE;
}

/* Gives each row to the nearest centre, the first of them if there are several; tells how many rows changed. */
static size_t assign(double *inertia) {
    size_t changed = 0;
    *inertia = 0;
    for (size_t row = 0; row < data.rows; row++) {
        int best = 0;
        double least = INFINITY;
        for (size_t centre = 0; centre < centres.rows; centre++) {
            double distance = 0;
            for (int column = 0; column < data.width; column++) {
                double difference = data.values[row * data.width + column] - centres.values[centre * data.width + column];
                difference /= deviations[column];
                distance += difference * difference;
            }
            if (distance < least) {
                least = distance;
                best = (int)centre;
            }
        }
        changed += clusters[row] != best;
        clusters[row] = best;
        *inertia += least;
    }
    return changed;
}

/* Moves each centre to the mean of its rows. One without rows stays. */
static void move_centres(void) {
    for (size_t centre = 0; centre < centres.rows; centre++) {
        double sums[MOST_COLUMNS] = {0};
        size_t count = 0;
        for (size_t row = 0; row < data.rows; row++) {
            if (clusters[row] == (int)centre) {
                count++;
                for (int column = 0; column < data.width; column++) {
                    sums[column] += data.values[row * data.width + column];
                }
            }
        }
        for (int column = 0; count && column < data.width; column++) {
            centres.values[centre * data.width + column] = sums[column] / count;
        }
    }
}

static enum fedmkt_status trainer_step(void) {
    double inertia;
    size_t changed = assign(&inertia);
    if (fedmkt_metric("inertia", inertia) != FEDMKT_MORE) {
        return FEDMKT_FAILED;
    }
    move_centres();
    return changed && fedmkt_steps < (unsigned long long)most_steps ? FEDMKT_MORE : FEDMKT_DONE;
}

static enum fedmkt_status trainer_finish(void) {
    FILE *file = fopen("/out/centres.csv", "w");
    int ok = file != NULL;
    for (int column = 0; ok && column < centres.width; column++) {
        ok = fprintf(file, "%s%s", column ? "," : "", centres.columns[column]) > 0;
    }
    for (size_t row = 0; ok && row < centres.rows; row++) {
        for (int column = 0; ok && column < centres.width; column++) {
            ok = fprintf(file, "%c%.17g", column ? ',' : '\n', centres.values[row * centres.width + column]) > 0;
        }
    }
    ok = ok && fputs("\n", file) >= 0;
    if (file && fclose(file) != 0) {
        ok = 0;
    }
    if (!ok) {
        perror("cannot write /out/centres.csv");
    }
    return ok ? FEDMKT_DONE : FEDMKT_FAILED;
}
