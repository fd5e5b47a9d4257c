// The tables of state.db and how a file comes to have them.
#pragma once

#include <sqlite3.h>

#include <string>

#include "base/result.h"

namespace netkitd {

// Only reads. An error when the file is another program's or another version's; an empty one is fine.
[[nodiscard]] Result<void> check_owner(sqlite3* database, const std::string& path);
// Makes the tables in an empty file; in any other, looks for damage.
[[nodiscard]] Result<void> prepare_schema(sqlite3* database, const std::string& path);
// Forgets everything that another boot's kernel held.
[[nodiscard]] Result<void> discard_other_boots(sqlite3* database, const std::string& boot_id);

}  // namespace netkitd
