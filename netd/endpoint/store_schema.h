// The tables of state.db and how a file comes to have them.
#pragma once

#include <sqlite3.h>

#include <string>

#include "base/result.h"

namespace netkitd {

// Makes the tables in an empty file; in any other, checks that they are ours, of this version and undamaged.
[[nodiscard]] Result<void> prepare_schema(sqlite3* database, const std::string& path);
// Forgets everything that another boot's kernel held.
[[nodiscard]] Result<void> discard_other_boots(sqlite3* database, const std::string& boot_id);

}  // namespace netkitd
