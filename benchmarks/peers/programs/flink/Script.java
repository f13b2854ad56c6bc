import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/** Runs the statements of a file in a cluster inside of this process, one slot, and waits for the last of them, the INSERT. */
public final class Script {
    public static void main(String[] arguments) throws Exception {
        var environment = StreamExecutionEnvironment.createLocalEnvironment(1);
        var tables = StreamTableEnvironment.create(environment);
        for (String statement : Files.readString(Path.of(arguments[0])).split(";\\s*\n")) {
            if (statement.isBlank()) {
                continue;
            }
            if (statement.startsWith("SET ")) {
                String[] parts = statement.split("'");
                tables.getConfig().set(parts[1], parts[3]);
                continue;
            }
            var result = tables.executeSql(statement);
            if (statement.startsWith("INSERT")) {
                result.await();
            }
        }
    }
}
