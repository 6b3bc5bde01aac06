/*
 * Asks the questions in a file, and prints the answers: a line for each, in hexadecimal, or "none".
 *
 *   known_answers FILE
 *
 * A question has its length in four bytes before it.
 */
#include "os.h"

int32_t known_answer(const uint8_t *question, size_t len, uint8_t *answer, size_t room);

static uint8_t answer[4096];
static char line[2 * sizeof answer + 1];

int device(int argc, char **argv)
{
    uint32_t len = 0, at = 0;
    const uint8_t *file = argc == 2 ? os_map(argv[1], &len, 0) : NULL;
    if (file == NULL) {
        os_print("known_answers FILE\n", 19);
        return 2;
    }
    while (len - at >= 4) {
        uint32_t question = (uint32_t)file[at] | (uint32_t)file[at + 1] << 8 | (uint32_t)file[at + 2] << 16 |
                            (uint32_t)file[at + 3] << 24;
        at += 4;
        if (question > len - at)
            return 2;
        int32_t count = known_answer(file + at, question, answer, sizeof answer);
        at += question;
        uint32_t end = 0;
        if (count < 0) {
            os_print("none\n", 5);
            continue;
        }
        for (int32_t byte = 0; byte < count; byte++) {
            line[end++] = "0123456789abcdef"[answer[byte] >> 4];
            line[end++] = "0123456789abcdef"[answer[byte] & 15];
        }
        line[end++] = '\n';
        os_print(line, end);
    }
    return 0;
}
