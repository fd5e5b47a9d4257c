// The tables of state.db and how a file comes to have them.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace netkitd {

// These only read; an empty file is fine. An error when it is another program's, or a newer version's.
[[nodiscard]] Result<void> check_owner(sqlite3* database, const std::string& path);
[[nodiscard]] Result<void> check_version(sqlite3* database, const std::string& path);
enum class Tables : std::uint8_t { known, made, upgraded };
// Makes the tables in an empty file; in any other, looks for damage, and brings an older version's to this one's. A
// newer one's stays as it is. Within a transaction of the caller's.
[[nodiscard]] Result<Tables> prepare_schema(sqlite3* database, const std::string& path);
// Forgets everything that another boot's kernel held. Within a transaction of the caller's.
[[nodiscard]] Result<void> discard_other_boots(sqlite3* database, const std::string& boot_id);

}  // namespace netkitd
